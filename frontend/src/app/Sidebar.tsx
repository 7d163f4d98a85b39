import { useQuery } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { NavLink, useNavigate } from "react-router";
import { projectsQuery, quotasQuery } from "@/api/orgs";
import { activeFilter, orgRunsQuery } from "@/api/runs";
import { signOut } from "@/api/session";
import type { Me, OrgOfMe, Quota } from "@/api/types";
import { formatInteger } from "@/lib/numbers";
import { chooseTheme, themeChoice, type ThemeChoice } from "@/tokens/theme";
import { Icon } from "@/ui/Icon";
import type { IconName } from "@/ui/icons";
import { Menu } from "@/ui/Menu";
import { QuotaBar } from "@/ui/Progress";
import { Segmented } from "@/ui/Segmented";
import { sayError } from "@/ui/toasts";

export function Sidebar({ me, org, onSearch }: { me: Me; org: OrgOfMe | undefined; onSearch: () => void }) {
  return (
    <nav className="sidebar" aria-label="Main">
      <div className="sidebar-head">
        <OrgSwitch me={me} org={org} />
      </div>
      <div className="sidebar-scroll">
        <button type="button" className="search-button" onClick={onSearch} aria-label="Search or jump">
          <Icon name="search" size={14} />
          <span>Search or jump</span>
          <kbd aria-hidden="true">⌘K</kbd>
        </button>
        {org === undefined ? <SideLink to="/" icon="home" text="Home" /> : <OrgLinks org={org} />}
      </div>
      {org !== undefined && <DeviceUse org={org.slug} />}
      <Account me={me} />
    </nav>
  );
}

function SideLink({
  to,
  icon,
  text,
  count,
  end = false,
}: {
  to: string;
  icon: IconName;
  text: string;
  count?: ReactNode;
  end?: boolean;
}) {
  return (
    <NavLink to={to} className="side-link" end={end} title={text}>
      <Icon name={icon} size={15} />
      <span className="name">{text}</span>
      {count !== undefined && <span className="count">{count}</span>}
    </NavLink>
  );
}

function OrgLinks({ org }: { org: OrgOfMe }) {
  const base = `/o/${org.slug}`;
  const projects = useQuery(projectsQuery(org.slug));
  const active = useQuery({ ...orgRunsQuery(org.slug, activeFilter), refetchInterval: 20_000 });
  return (
    <>
      <SideLink to="/" icon="home" text="Home" end />
      <SideLink to={`${base}/submit`} icon="plus" text="Submit" count={<kbd>N</kbd>} />
      <SideLink
        to={`${base}/active`}
        icon="pulse"
        text="Active runs"
        count={
          active.data !== undefined && active.data.total > 0 ? formatInteger(active.data.total) : undefined
        }
      />
      <NavLink className="side-heading side-heading-link" to={`${base}/projects`}>
        Projects
      </NavLink>
      {projects.data?.items.map((project) => (
        <SideLink
          key={project.slug}
          to={`${base}/p/${project.slug}`}
          icon="folder"
          text={project.name === "" ? project.slug : project.name}
          count={formatInteger(project.runs)}
        />
      ))}
      {projects.data?.items.length === 0 && <p className="side-heading">The first launch makes one.</p>}
      <div className="side-heading">Shared</div>
      <SideLink to="/leaderboards" icon="trophy" text="Leaderboards" />
      <div className="side-heading">Organisation</div>
      <SideLink to={`${base}/usage`} icon="gauge" text="Quota and usage" />
      <SideLink to={`${base}/members`} icon="people" text="Members" />
      <SideLink to={`${base}/tokens`} icon="key" text="Tokens" />
      <SideLink to={`${base}/nodes`} icon="server" text="Nodes" />
      <SideLink to={`${base}/alerts`} icon="warning" text="Alerts" />
      <SideLink to={`${base}/storage`} icon="table" text="Storage and trash" />
    </>
  );
}

function OrgSwitch({ me, org }: { me: Me; org: OrgOfMe | undefined }) {
  const navigate = useNavigate();
  return (
    <Menu
      label={`Organisation: ${org?.name ?? "none"}. Switch`}
      className="org-switch"
      button={
        <>
          <Mark />
          <span className="org-name">{org?.name ?? "Stillroom"}</span>
          {me.orgs.length > 1 && <Icon name="chevronDown" size={14} />}
        </>
      }
    >
      {(close) => (
        <>
          <div className="menu-heading">Organisations</div>
          {me.orgs.map((one) => (
            <button
              key={one.slug}
              type="button"
              className="menu-item"
              aria-current={one.slug === org?.slug}
              onClick={() => {
                close();
                void navigate(`/o/${one.slug}/active`);
              }}
            >
              {one.name}
              <span className="spacer" />
              <span className="quiet">{one.role}</span>
            </button>
          ))}
          {me.user.is_staff && (
            <a className="menu-item" href="/admin/">
              Administration
            </a>
          )}
        </>
      )}
    </Menu>
  );
}

function Mark() {
  return (
    <svg className="mark" width="20" height="20" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path
        d="M5.5 6.5v7.2a3.8 3.8 0 0 0 7.6 0V10M3.6 13h11.4M5.5 6.5a3 3 0 0 1 6 0c0 1 .8 1.6 1.7 1.6 2 0 3.3-1.2 3.3-3.1"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.6"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}

function limitOf(quota: Quota): number {
  return Math.min(quota.max_devices ?? quota.capacity, Math.max(quota.capacity, quota.in_use));
}

/** The scarcest kind: the one with the highest share in use, then the one with most waiting. */
function scarcest(quotas: readonly Quota[]): Quota | undefined {
  const share = (quota: Quota): number => quota.in_use / Math.max(1, limitOf(quota));
  return [...quotas].sort((a, b) => share(b) - share(a) || b.waiting - a.waiting)[0];
}

function DeviceUse({ org }: { org: string }) {
  const quotas = useQuery(quotasQuery(org));
  const quota = scarcest(quotas.data?.items ?? []);
  if (quota === undefined) return null;
  const limit = limitOf(quota);
  if (limit === 0)
    return <div className="sidebar-foot second">No device is attached, so nothing can start.</div>;
  const words = quota.waiting > 0 ? `${quota.waiting} waiting` : `none waits for ${quota.kind}`;
  return (
    <div className="sidebar-foot">
      <div className="row">
        <span className="second">{quota.kind} in use</span>
        <b className="number">
          {quota.in_use} of {limit}
        </b>
      </div>
      <QuotaBar
        inUse={quota.in_use}
        guaranteed={limit}
        max={limit}
        label={`${quota.in_use} of ${limit} ${quota.kind} in use, ${words}`}
      />
      <span className="second">{words}</span>
    </div>
  );
}

const themes: readonly (readonly [ThemeChoice, string])[] = [
  ["system", "System"],
  ["light", "Light"],
  ["dark", "Dark"],
];

function Account({ me }: { me: Me }) {
  const [theme, setTheme] = useState(themeChoice);
  const name = me.user.name === "" ? me.user.email : me.user.name;
  return (
    <div className="sidebar-me">
      <Menu
        label={`Signed in as ${name}`}
        className="me-button"
        button={
          <>
            <span className="avatar" aria-hidden="true">
              {name.slice(0, 1).toUpperCase()}
            </span>
            <span>{name}</span>
          </>
        }
      >
        {() => (
          <>
            <div className="menu-heading">{me.user.email}</div>
            <div className="menu-item">
              <Segmented
                label="Theme"
                value={theme}
                options={themes}
                onChange={(choice) => {
                  setTheme(choice);
                  chooseTheme(choice);
                }}
              />
            </div>
            <button
              type="button"
              className="menu-item"
              onClick={() => {
                signOut()
                  .then(() => location.assign("/signin"))
                  .catch(sayError);
              }}
            >
              <Icon name="signOut" /> Sign out
            </button>
          </>
        )}
      </Menu>
    </div>
  );
}
