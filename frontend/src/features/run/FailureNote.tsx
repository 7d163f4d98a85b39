import { useQuery } from "@tanstack/react-query";
import { useLocation, Link } from "react-router";
import { fetchLogs } from "@/api/runs";
import type { Run } from "@/api/types";
import { plainLine } from "@/lib/ansi";
import { formatInteger } from "@/lib/numbers";
import { Icon } from "@/ui/Icon";

const TAIL = 6;

/** The cause replaces the key figures as a sentence, with the last log lines. */
export function FailureNote({ run }: { run: Run }) {
  const { pathname } = useLocation();
  const tail = useQuery({
    queryKey: ["run", run.id, "log-tail"],
    queryFn: ({ signal }) => fetchLogs(run.id, { direction: "backward", limit: TAIL }, signal),
  });
  const lines = [...(tail.data?.items ?? [])].sort((a, b) => a.n - b.n);
  const reached = run.progress === null ? "" : ` It had reached step ${formatInteger(run.progress.step)}.`;
  const cause =
    run.reason?.message ??
    (run.state === "LOST" ? "The run was lost." : "The run failed and gave no reason.");
  return (
    <div className={run.state === "FAILED" ? "failure" : "failure failure-lost"}>
      <p>
        <Icon name={run.state === "FAILED" ? "bad" : "warning"} />
        <span>
          {cause}
          {/\bstep\b/.test(cause) ? "" : reached}
        </span>
      </p>
      {lines.length > 0 && (
        <pre aria-label="Last log lines">{lines.map((line) => plainLine(line.message)).join("\n")}</pre>
      )}
      <Link to={`${pathname.replace(/\/(logs|config|artifacts|system|timeline|notes)$/, "")}/logs`}>
        All logs
      </Link>
    </div>
  );
}
