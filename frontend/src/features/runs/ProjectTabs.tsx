import { NavLink } from "react-router";
import { formatInteger } from "@/lib/numbers";

export function ProjectTabs({
  org,
  project,
  runs,
}: {
  org: string;
  project: string;
  runs: number | undefined;
}) {
  const base = `/o/${org}/p/${project}`;
  return (
    <nav className="tabs" aria-label="Project">
      <NavLink to={`${base}/runs`}>
        Runs {runs !== undefined && <span className="count">{formatInteger(runs)}</span>}
      </NavLink>
      <NavLink to={`${base}/studies`}>Studies</NavLink>
      <NavLink to="/leaderboards">Leaderboards</NavLink>
    </nav>
  );
}
