import { Link } from "react-router";
import type { Run } from "@/api/types";
import { Id } from "@/ui/Notes";
import { StateChip } from "@/ui/StateChip";
import { elapsedText, RunProgressText } from "./RunProgressText";
import "./runs.css";

/** A longer name leaves no room for the id. */
const LONG_NAME = 34;

/** A plain list of runs with state, progress or reason, and time. */
export function RunList({ org, runs, label }: { org: string; runs: readonly Run[]; label: string }) {
  return (
    <div className="card table-scroll run-list">
      <table className="table" aria-label={label}>
        <thead>
          <tr>
            <th scope="col">Run</th>
            <th scope="col">Project</th>
            <th scope="col">State</th>
            <th scope="col">Progress, or why it waits</th>
            <th scope="col">Devices</th>
            <th scope="col" className="number">
              Elapsed
            </th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <tr key={run.id}>
              <td>
                <span className="run-name">
                  <Link to={`/o/${org}/runs/${run.id}`} title={run.name}>
                    {run.name}
                  </Link>
                  {run.name.length <= LONG_NAME && <Id id={run.id} />}
                </span>
              </td>
              <td>
                <Link className="second" to={`/o/${org}/p/${run.project}/runs`}>
                  {run.project}
                </Link>
              </td>
              <td>
                <StateChip state={run.state} />
              </td>
              <td>
                <RunProgressText run={run} />
              </td>
              <td className="second">
                {run.external ? "external" : `${run.resources.devices} ${run.resources.kind}`}
              </td>
              <td className="number second">{elapsedText(run)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
