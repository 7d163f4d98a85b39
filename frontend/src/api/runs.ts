import {
  infiniteQueryOptions,
  keepPreviousData,
  queryOptions,
  type InfiniteData,
  type QueryClient,
} from "@tanstack/react-query";
import type { RunChange } from "@/lib/live";
import { api, body } from "./http";
import type {
  Artifact,
  Completion,
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
  readonly state?: string[];
  readonly study?: string;
  readonly spec_hash?: string;
  readonly sort?: string;
  readonly group?: "spec" | "";
  readonly columns?: string;
  readonly limit?: number;
}

/** Running and waiting runs of a whole organisation. */
export const activeFilter: RunListFilter = {
  state: ["RUNNING", "STOPPING", "STARTING", "ASSIGNED", "QUEUED", "HELD"],
  sort: "-created_at",
};

export const runsQuery = (org: string, project: string, filter: RunListFilter) =>
  queryOptions({
    queryKey: ["runs", org, project, filter],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/orgs/{org}/projects/{project}/runs", {
          params: { path: { org, project }, query: { limit: 500, ...filter } },
          signal,
        }),
      ) as Promise<RunPage>,
    placeholderData: keepPreviousData,
  });

const PAGE = 200;

/** The same as pages by cursor, each brought when it is wanted. The first carries the groups and the total. */
export const runPagesQuery = (org: string, project: string, filter: RunListFilter) =>
  infiniteQueryOptions({
    queryKey: ["runs", org, project, "pages", filter],
    queryFn: ({ signal, pageParam }) =>
      body(
        api.GET("/api/v1/orgs/{org}/projects/{project}/runs", {
          params: {
            path: { org, project },
            query: {
              limit: PAGE,
              ...filter,
              // Groups are of all runs that match: once is enough.
              ...(pageParam === "" ? {} : { cursor: pageParam, group: "" as const }),
            },
          },
          signal,
        }),
      ) as Promise<RunPage>,
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
  });

/** Runs of every project of the organisation. */
export const orgRunsQuery = (org: string, filter: RunListFilter) =>
  queryOptions({
    queryKey: ["runs", org, null, filter],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/runs", { params: { query: { org, limit: 200, ...filter } }, signal }),
      ) as Promise<RunPage>,
    placeholderData: keepPreviousData,
  });

/** Names of all metrics that runs of the project have logged, in order; the first thousand. */
export const metricKeysQuery = (org: string, project: string) =>
  queryOptions({
    queryKey: ["metric-keys", org, project],
    queryFn: async ({ signal }) => {
      const page = await body(
        api.GET("/api/v1/orgs/{org}/projects/{project}/metric-keys", {
          params: { path: { org, project }, query: { limit: 1000 } },
          signal,
        }),
      );
      return page.items;
    },
    staleTime: 30_000,
  });

/** What may come next at a place in a query. */
export const completionQuery = (org: string, project: string, q: string, place: number) =>
  queryOptions({
    queryKey: ["completion", org, project, q.slice(0, place)],
    queryFn: ({ signal }) =>
      body<Completion>(
        api.GET("/api/v1/orgs/{org}/projects/{project}/query/complete", {
          params: { path: { org, project }, query: { q, at: Math.min(place, q.length) } },
          signal,
        }),
      ),
    staleTime: 30_000,
    placeholderData: keepPreviousData,
  });

const at = (run: string) => ({ params: { path: { run } } });

export const runQuery = (run: string) =>
  queryOptions({
    queryKey: ["run", run],
    queryFn: ({ signal }) => body(api.GET("/api/v1/runs/{run}", { ...at(run), signal })) as Promise<Run>,
  });

export const runEventsQuery = (run: string) =>
  queryOptions({
    queryKey: ["run", run, "events"],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/runs/{run}/events", { ...at(run), signal })) as Promise<RunHistory>,
  });

export const runSeriesQuery = (run: string) =>
  queryOptions({
    queryKey: ["run", run, "series"],
    queryFn: ({ signal }) =>
      body<Page<SeriesInfo>>(api.GET("/api/v1/runs/{run}/series", { ...at(run), signal })),
  });

export const runArtifactsQuery = (run: string) =>
  queryOptions({
    queryKey: ["run", run, "artifacts"],
    queryFn: ({ signal }) =>
      body<Page<Artifact>>(api.GET("/api/v1/runs/{run}/artifacts", { ...at(run), signal })),
  });

export interface LogQuery {
  readonly cursor?: number;
  readonly limit?: number;
  readonly direction?: "forward" | "backward";
  readonly q?: string;
}

export async function fetchLogs(run: string, query: LogQuery, signal?: AbortSignal): Promise<LogPage> {
  return body(
    api.GET("/api/v1/runs/{run}/logs", {
      params: { path: { run }, query },
      ...(signal === undefined ? {} : { signal }),
    }),
  );
}

export const seriesQuery = (query: SeriesQuery) =>
  queryOptions({
    queryKey: ["series", query],
    queryFn: ({ signal }) => body<SeriesResult>(api.POST("/api/v1/series/query", { body: query, signal })),
    placeholderData: keepPreviousData,
    enabled: query.runs.length > 0 && query.keys.length > 0,
  });

export type RunAction = "cancel" | "pause" | "resume";

export async function actOnRun(run: string, action: RunAction): Promise<Run> {
  const answers = {
    cancel: () => api.POST("/api/v1/runs/{run}/cancel", at(run)),
    pause: () => api.POST("/api/v1/runs/{run}/pause", at(run)),
    resume: () => api.POST("/api/v1/runs/{run}/resume", at(run)),
  };
  return (await body(answers[action]())) as Run;
}

export async function retryRun(run: string): Promise<Run> {
  return (await body(api.POST("/api/v1/runs/{run}/retry", at(run)))) as Run;
}

export async function editRun(run: string, change: { name?: string; notes?: string }): Promise<Run> {
  return (await body(api.PATCH("/api/v1/runs/{run}", { ...at(run), body: change }))) as Run;
}

export async function launchRun(org: string, project: string, run: NewRun, key: string): Promise<Run> {
  return (await body(
    api.POST("/api/v1/orgs/{org}/projects/{project}/runs", {
      params: { path: { org, project }, header: { "Idempotency-Key": key } },
      body: run,
    }),
  )) as Run;
}

export async function launchStudy(
  org: string,
  project: string,
  study: NewStudy,
  key: string,
): Promise<Study> {
  return body(
    api.POST("/api/v1/orgs/{org}/projects/{project}/studies", {
      params: { path: { org, project }, header: { "Idempotency-Key": key } },
      body: study,
    }),
  );
}

export const studiesQuery = (org: string, project: string) =>
  queryOptions({
    queryKey: ["studies", org, project],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/orgs/{org}/projects/{project}/studies", {
          params: { path: { org, project }, query: { limit: 100 } },
          signal,
        }),
      ) as Promise<Page<Study>>,
  });

export const studyQuery = (study: string) =>
  queryOptions({
    queryKey: ["study", study],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/studies/{study}", { params: { path: { study } }, signal })) as Promise<Study>,
  });

export async function cancelStudy(study: string): Promise<number> {
  return (await body(api.POST("/api/v1/studies/{study}/cancel", { params: { path: { study } } }))).stopped;
}

function patched(run: Run, change: RunChange): Run {
  const { metrics, ...rest } = change as Partial<Run> & { id: string };
  return { ...run, ...rest, ...(metrics === undefined ? {} : { metrics: { ...run.metrics, ...metrics } }) };
}

/** Writes an announced change into every cached copy of the run. Answers whether any list showed it. */
export function applyRunChange(client: QueryClient, change: RunChange): boolean {
  let shown = false;
  client.setQueryData<Run>(["run", change.id], (run) => (run === undefined ? run : patched(run, change)));
  const inPage = (page: RunPage): RunPage => {
    if (!page.items.some((run) => run.id === change.id)) return page;
    shown = true;
    return { ...page, items: page.items.map((run) => (run.id === change.id ? patched(run, change) : run)) };
  };
  client.setQueriesData<RunPage | InfiniteData<RunPage>>({ queryKey: ["runs"] }, (data) => {
    if (data === undefined) return data;
    return "pages" in data ? { ...data, pages: data.pages.map(inPage) } : inPage(data);
  });
  return shown;
}
