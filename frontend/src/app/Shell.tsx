import { useQuery } from "@tanstack/react-query";
import { Suspense, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { Outlet, useLocation, useNavigate, useParams } from "react-router";
import { currentOrg, rememberOrg } from "@/api/scope";
import { meQuery } from "@/api/session";
import { useKeys } from "@/lib/keys";
import { onSidebar, openDrawer, sidebarState, toggleSidebar } from "@/lib/sidebar";
import { ErrorNote, Skeleton } from "@/ui/Notes";
import { NoOrganisation } from "./NoOrganisation";
import { Palette } from "./Palette";
import { ShortcutHelp } from "./ShortcutHelp";
import { Sidebar } from "./Sidebar";
import { useMlflowLink } from "./useMlflowLink";

const LEADER_MS = 1_200;

export function Shell() {
  const me = useQuery(meQuery);
  const params = useParams();
  const navigate = useNavigate();
  const { pathname } = useLocation();
  const { collapsed, drawer } = useSyncExternalStore(onSidebar, sidebarState);
  const [overlay, setOverlay] = useState<"palette" | "help" | null>(null);
  const leader = useRef(0);

  const known = params["org"] ?? currentOrg();
  const org = me.data?.orgs.find((one) => one.slug === known) ?? me.data?.orgs[0];
  useEffect(() => {
    if (org !== undefined) rememberOrg(org.slug);
  }, [org]);
  useEffect(() => openDrawer(false), [pathname]);
  useMlflowLink();

  const home = org === undefined ? "/" : `/o/${org.slug}`;
  const afterG = (to: string, otherwise?: () => void) => (): void => {
    if (Date.now() - leader.current < LEADER_MS) {
      leader.current = 0;
      void navigate(to);
    } else otherwise?.();
  };
  useKeys({
    "[": toggleSidebar,
    "Mod+k": () => setOverlay("palette"),
    "?": () => setOverlay("help"),
    g: () => (leader.current = Date.now()),
    h: afterG("/"),
    a: afterG(`${home}/active`),
    l: afterG("/leaderboards"),
    n: () => void navigate(`${home}/submit`),
  });

  if (me.isPending) return <Skeleton />;
  if (me.isError) {
    return (
      <div className="page-body">
        <ErrorNote error={me.error} retry={() => void me.refetch()} />
      </div>
    );
  }
  return (
    <div className={`frame${collapsed ? " frame-collapsed" : ""}${drawer ? " frame-drawer" : ""}`}>
      <a className="skip-link" href="#main">
        Skip to the page
      </a>
      <Sidebar me={me.data} org={org} onSearch={() => setOverlay("palette")} />
      {drawer && (
        <button
          type="button"
          className="drawer-scrim"
          aria-label="Close the navigation"
          onClick={() => openDrawer(false)}
        />
      )}
      {org === undefined ? (
        <NoOrganisation me={me.data} />
      ) : (
        <Suspense fallback={<Skeleton />}>
          <Outlet />
        </Suspense>
      )}
      {overlay === "palette" && <Palette org={org} onClose={() => setOverlay(null)} />}
      {overlay === "help" && <ShortcutHelp onClose={() => setOverlay(null)} />}
    </div>
  );
}
