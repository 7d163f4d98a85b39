import { keepPreviousData, queryOptions, type QueryClient } from "@tanstack/react-query";
import type { RunChange } from "@/lib/live";
import { getJson, send } from "./http";
import type {
  Artifact,
  LogPage,
  NewRun,
  NewStudy,
  Page,
  Run,
  RunHistory,
  RunPage,
  SeriesInfo,
  SeriesQuery,
  SeriesResult,
  Study,
} from "./types";

export interface RunListFilter {
  readonly q?: string;
  readonly state?: readonly string[];
  readonly study?: string;
  readonly spec_hash?: string;
  readonly sort?: string;
  readonly group?: "spec" | undefined;
  readonly columns?: string;
  readonly limit?: number;
  readonly cursor?: string;
}

const projectPath = (org: string, project: string): string => `/orgs/${org}/projects/${project}`;

export const runsQuery = (org: string, project: string, filter: RunListFilter) =>
  queryOptions({
    queryKey: ["runs", org, project, filter],
    queryFn: ({ signal }) =>
      getJson<RunPage>(`${projectPath(org, project)}/runs`, { limit: 500, ...filter }, signal),
    placeholderData: keepPreviousData,
  });

/** Runs of every project of the organisation. */
export const orgRunsQuery = (org: string, filter: RunListFilter) =>
  queryOptions({
    queryKey: ["runs", org, null, filter],
    queryFn: ({ signal }) => getJson<RunPage>("/runs", { org, limit: 200, ...filter }, signal),
    placeholderData: keepPreviousData,
  });

export const runQuery = (run: string) =>
  queryOptions({
    queryKey: ["run", run],
    queryFn: ({ signal }) => getJson<Run>(`/runs/${run}`, undefined, signal),
  });

export const runEventsQuery = (run: string) =>
  queryOptions({
    queryKey: ["run", run, "events"],
    queryFn: ({ signal }) => getJson<RunHistory>(`/runs/${run}/events`, undefined, signal),
  });

export const runSeriesQuery = (run: string) =>
  queryOptions({
    queryKey: ["run", run, "series"],
    queryFn: ({ signal }) => getJson<Page<SeriesInfo>>(`/runs/${run}/series`, { limit: 500 }, signal),
  });

export const runArtifactsQuery = (run: string) =>
  queryOptions({
    queryKey: ["run", run, "artifacts"],
    queryFn: ({ signal }) => getJson<Page<Artifact>>(`/runs/${run}/artifacts`, { limit: 500 }, signal),
  });

export function artifactUrl(run: string, path: string): string {
  return `/api/v1/runs/${run}/artifacts/${path.split("/").map(encodeURIComponent).join("/")}`;
}

export async function fetchLogs(
  run: string,
  query: { cursor?: string; limit?: number; direction?: "forward" | "backward"; q?: string },
  signal?: AbortSignal,
): Promise<LogPage> {
  return getJson<LogPage>(`/runs/${run}/logs`, query, signal);
}

export const seriesQuery = (query: SeriesQuery) =>
  queryOptions({
    queryKey: ["series", query],
    queryFn: () => send<SeriesResult>("POST", "/series/query", query),
    placeholderData: keepPreviousData,
    enabled: query.runs.length > 0 && query.keys.length > 0,
  });

export type RunAction = "cancel" | "pause" | "resume";

export async function actOnRun(run: string, action: RunAction): Promise<Run> {
  return send<Run>("POST", `/runs/${run}/${action}`);
}

export async function retryRun(run: string): Promise<Run> {
  return send<Run>("POST", `/runs/${run}/retry`);
}

export async function editRun(run: string, change: { name?: string; notes?: string }): Promise<Run> {
  return send<Run>("PATCH", `/runs/${run}`, change);
}

export async function launchRun(org: string, project: string, run: NewRun, key: string): Promise<Run> {
  return send<Run>("POST", `${projectPath(org, project)}/runs`, run, key);
}

export async function launchStudy(
  org: string,
  project: string,
  study: NewStudy,
  key: string,
): Promise<Study> {
  return send<Study>("POST", `${projectPath(org, project)}/studies`, study, key);
}

export const studiesQuery = (org: string, project: string) =>
  queryOptions({
    queryKey: ["studies", org, project],
    queryFn: ({ signal }) => getJson<Page<Study>>(`${projectPath(org, project)}/studies`, undefined, signal),
  });

export const studyQuery = (study: string) =>
  queryOptions({
    queryKey: ["study", study],
    queryFn: ({ signal }) => getJson<Study>(`/studies/${study}`, undefined, signal),
  });

export async function cancelStudy(study: string): Promise<{ readonly stopped: number }> {
  return send<{ stopped: number }>("POST", `/studies/${study}/cancel`);
}

function patched(run: Run, change: RunChange): Run {
  const { metrics, ...rest } = change as Partial<Run> & { id: string };
  return { ...run, ...rest, ...(metrics === undefined ? {} : { metrics: { ...run.metrics, ...metrics } }) };
}

/** Writes an announced change into every cached copy of the run. Answers whether any list showed it. */
export function applyRunChange(client: QueryClient, change: RunChange): boolean {
  let shown = false;
  client.setQueryData<Run>(["run", change.id], (run) => (run === undefined ? run : patched(run, change)));
  client.setQueriesData<RunPage>({ queryKey: ["runs"] }, (page) => {
    if (page?.items.some((run) => run.id === change.id) !== true) return page;
    shown = true;
    return { ...page, items: page.items.map((run) => (run.id === change.id ? patched(run, change) : run)) };
  });
  return shown;
}

/** Running and waiting runs of the whole organisation. */
export const activeFilter: RunListFilter = {
  state: ["RUNNING", "STOPPING", "STARTING", "ASSIGNED", "QUEUED", "HELD"],
  sort: "-created_at",
};
