import { useEffect, useRef, useSyncExternalStore, type ReactNode } from "react";
import { Link, useLocation } from "react-router";
import { live } from "@/lib/live";
import { formatInteger } from "@/lib/numbers";
import { openDrawer } from "@/lib/sidebar";
import { formatClock } from "@/lib/times";
import { Button } from "./Button";

export interface Crumb {
  readonly text: string;
  readonly to: string;
}

/**
 * Top bar and scrolling page: breadcrumb, live state, page actions, at most one primary button.
 *
 * A page that shows no heading of the first level gets its title as one for those who hear it; `headed` pages have one.
 */
export function PageFrame({
  title,
  crumbs = [],
  actions,
  followsLive = false,
  headed = false,
  children,
}: {
  title: string;
  crumbs?: readonly Crumb[];
  actions?: ReactNode;
  followsLive?: boolean;
  headed?: boolean;
  children: ReactNode;
}) {
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  useEffect(() => {
    if (document.activeElement === document.body) main.current?.focus({ preventScroll: true });
  }, [pathname]);
  return (
    <div className="main">
      <title>{`${title} · Stillroom`}</title>
      <header className="topbar">
        <Button
          className="burger"
          look="quiet"
          icon="burger"
          aria-label="Open the navigation"
          onClick={() => openDrawer(true)}
        />
        <nav aria-label="Breadcrumb">
          <ol className="breadcrumb">
            {crumbs.map((crumb) => (
              <li key={crumb.to}>
                <Link to={crumb.to}>{crumb.text}</Link>
              </li>
            ))}
            <li>
              <span aria-current="page">{title}</span>
            </li>
          </ol>
        </nav>
        <span className="spacer" />
        {followsLive && <LiveState />}
        {actions}
      </header>
      {followsLive && <OfflineStrip />}
      <main className="page" id="main" tabIndex={-1} ref={main}>
        {!headed && <h1 className="visually-hidden">{title}</h1>}
        {children}
      </main>
    </div>
  );
}

function LiveState() {
  const status = useSyncExternalStore(live.onStatus, live.getStatus);
  if (status.phase === "idle") return null;
  const words = { connecting: "Connecting", live: "Live", offline: "Offline" }[status.phase];
  const behind =
    status.phase === "live" && status.behindS !== null && status.behindS < 600
      ? `, ${status.behindS.toFixed(1)} s behind`
      : "";
  return (
    <span className={`live-state live-state-${status.phase}`}>
      <span className="live-dot" aria-hidden="true" />
      <span>
        {words}
        <span className="behind">{behind}</span>
      </span>
    </span>
  );
}

function OfflineStrip() {
  const status = useSyncExternalStore(live.onStatus, live.getStatus);
  if (status.phase === "offline" && status.since !== null) {
    return (
      <div className="strip" role="status">
        Offline since {formatClock(new Date(status.since))}. Showing what arrived until then.
      </div>
    );
  }
  if (status.caughtUp !== null) {
    return (
      <div className="strip strip-quiet" role="status">
        Connected again. {formatInteger(status.caughtUp)} points came in.
      </div>
    );
  }
  return null;
}
