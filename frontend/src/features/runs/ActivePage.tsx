import { useQuery } from "@tanstack/react-query";
import { useParams } from "react-router";
import { activeFilter, orgRunsQuery } from "@/api/runs";
import type { Run } from "@/api/types";
import { useNow } from "@/lib/clock";
import { isActive } from "@/lib/runStates";
import { LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { RunList } from "./RunList";
import { useOrgLive } from "./useOrgLive";

export function byRank(a: Run, b: Run): number {
  return (
    (a.waiting?.rank ?? Infinity) - (b.waiting?.rank ?? Infinity) || a.created_at.localeCompare(b.created_at)
  );
}

export function ActivePage() {
  const { org = "" } = useParams();
  useNow(10_000);
  useOrgLive(org);
  const runs = useQuery(orgRunsQuery(org, activeFilter));
  const items = runs.data?.items ?? [];
  const running = items.filter((run) => isActive(run.state));
  const waiting = items.filter((run) => run.state === "QUEUED" || run.state === "HELD").sort(byRank);
  return (
    <PageFrame
      title="Active runs"
      followsLive
      actions={
        <LinkButton to={`/o/${org}/submit`} icon="plus" hint="N" look="primary">
          Submit
        </LinkButton>
      }
    >
      <div className="page-body">
        {runs.isPending && <Skeleton />}
        {runs.isError && <ErrorNote error={runs.error} retry={() => void runs.refetch()} />}
        {runs.isSuccess && running.length + waiting.length === 0 && (
          <EmptyState action={<LinkButton to={`/o/${org}/submit`}>Choose a recipe</LinkButton>}>
            Nothing runs and nothing waits in this organisation.
          </EmptyState>
        )}
        {running.length > 0 && (
          <>
            <h2>Running</h2>
            <RunList org={org} runs={running} label="Running" />
          </>
        )}
        {waiting.length > 0 && (
          <>
            <h2>Waiting</h2>
            <RunList org={org} runs={waiting} label="Waiting" />
          </>
        )}
      </div>
    </PageFrame>
  );
}
