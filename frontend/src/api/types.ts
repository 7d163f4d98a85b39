/**
 * The shapes of the wire by the names that pages use. They are those of the generated description, narrowed where it
 * says less than the platform promises: the ten states of a run, JSON instead of unknown, numbers that travel as text.
 */

import type { RunProgress } from "@/lib/frames";
import type { WireNumber } from "@/lib/numbers";
import type { Json, JsonObject } from "@/lib/paths";
import type { RunState } from "@/lib/runStates";
import type { components } from "./generated/schema";

type S = components["schemas"];

export interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor?: string | null;
}

export type Role = S["MembershipOut"]["role"];
export type OrgOfMe = S["MembershipOut"];
export type Me = S["MeOut"];
export type Project = S["ProjectOut"];
export type RecipeMetric = S["MetricInfoOut"];
export type RecipeExample = Omit<S["ExampleOut"], "spec"> & { readonly spec: JsonObject };
export type RecipeTemplate = Omit<S["TemplateOut"], "spec" | "arms"> & {
  readonly spec: JsonObject;
  readonly arms: readonly { readonly name: string; readonly spec: JsonObject }[];
};
export type Recipe = Omit<S["RecipeOut"], "examples" | "templates"> & {
  readonly examples: readonly RecipeExample[];
  readonly templates: readonly RecipeTemplate[];
};
export type RecipeDetail = Recipe & { readonly schema: JsonObject };

export type Scores = S["ScoresOut"];
export type Completion = S["CompletionOut"];

export interface MetricSummary {
  readonly last: WireNumber | null;
  readonly min: WireNumber | null;
  readonly max: WireNumber | null;
  readonly last_step: number | null;
  readonly n: number;
}

export type Resources = S["ResourcesOut"];

export type Run = Omit<S["RunOut"], "spec" | "state" | "metrics" | "progress"> & {
  readonly spec: JsonObject;
  readonly state: RunState;
  readonly metrics: Readonly<Record<string, MetricSummary>>;
  readonly progress: RunProgress | null;
};

export type StateCounts = Readonly<Partial<Record<RunState, number>>>;
export type RunGroup = Omit<S["GroupOut"], "states"> & { readonly states: StateCounts };
export type RunPage = Page<Run> & { readonly total: number; readonly groups?: readonly RunGroup[] | null };

export type RunEvent = Omit<S["EventOut"], "from_state" | "to_state"> & {
  readonly from_state: RunState | "";
  readonly to_state: RunState;
};
export type Attempt = S["AttemptOut"];
export type RunHistory = Page<RunEvent> & { readonly attempts: readonly Attempt[] };

export type SeriesInfo = S["SeriesOut"];
export type LogPage = S["LogList"];
export type Artifact = S["ArtifactOut"];
export type SeriesQuery = S["ChartIn"];
export type SeriesAnswer = S["ChartSeriesOut"];
export type GroupSeries = S["ChartGroupOut"];
export type SeriesResult = S["ChartOut"];

export type Study = Omit<S["StudyOut"], "states"> & { readonly states: StateCounts };
export type NewRun = S["RunIn"];
export type NewStudy = S["StudyIn"];

export type Benchmark = Omit<S["BenchmarkOut"], "frozen" | "goal" | "reduce"> & {
  readonly frozen: Readonly<Record<string, Json>>;
  readonly goal: "min" | "max";
  readonly reduce: "last" | "min" | "max";
};
export type BenchmarkEntry = Omit<S["EntryOut"], "spec"> & { readonly spec: JsonObject };
export type BenchmarkDetail = Benchmark & { readonly entries: readonly BenchmarkEntry[] };
export type NewBenchmark = S["BenchmarkIn"];
export type BenchmarkChange = S["BenchmarkPatch"];

export type Member = S["MemberOut"];
export type MemberAdded = S["MemberAdded"];
export type Token = S["TokenOut"];
export type TokenMade = S["TokenMade"];
export type NodeInfo = S["NodeOut"];
export type Quota = S["QuotaOut"];
export type UsageRow = S["UsageOut"];
