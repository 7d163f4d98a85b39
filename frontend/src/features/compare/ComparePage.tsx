import { useQueries } from "@tanstack/react-query";
import { useParams } from "react-router";
import { runQuery } from "@/api/runs";
import type { Run } from "@/api/types";
import { plural } from "@/lib/numbers";
import { isOver } from "@/lib/runStates";
import { useUrlState } from "@/lib/urlState";
import { Button, LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { say } from "@/ui/toasts";
import { Comparison } from "./Comparison";

const MOST_RUNS = 200;

export function ComparePage() {
  const { org = "" } = useParams();
  const url = useUrlState();
  const asked = url.list("runs");
  const ids = asked.slice(0, MOST_RUNS);
  const found = useQueries({
    queries: ids.map((id) => ({
      ...runQuery(id),
      refetchInterval: ({ state }: { state: { data?: Run | undefined } }) =>
        state.data !== undefined && isOver(state.data.state) ? (false as const) : 15_000,
    })),
  });
  const runs = found.flatMap((one) => one.data ?? []);
  const broken = found.find((one) => one.isError);
  const pending = found.some((one) => one.isPending);
  return (
    <PageFrame
      title={`Compare ${plural(ids.length, "run")}`}
      crumbs={
        runs[0] === undefined ? [] : [{ text: runs[0].project, to: `/o/${org}/p/${runs[0].project}/runs` }]
      }
      actions={
        <>
          <span className="quiet compare-hint">Everything below is in the link</span>
          <Button
            icon="copy"
            onClick={() => void navigator.clipboard.writeText(location.href).then(() => say("Link copied."))}
          >
            Copy link
          </Button>
        </>
      }
    >
      <div className="page-body">
        {ids.length === 0 && (
          <EmptyState action={<LinkButton to={`/o/${org}/active`}>Choose runs</LinkButton>}>
            No runs are chosen. Select some in a project with X and press C.
          </EmptyState>
        )}
        {asked.length > MOST_RUNS && (
          <p className="second" role="status">
            The first {MOST_RUNS} of {plural(asked.length, "run")} are compared.
          </p>
        )}
        {broken !== undefined && <ErrorNote error={broken.error} />}
        {pending && <Skeleton lines={8} />}
        {!pending && runs.length > 0 && (
          <Comparison org={org} runs={runs} onRuns={(left) => url.set({ runs: left.map((run) => run.id) })} />
        )}
      </div>
    </PageFrame>
  );
}
