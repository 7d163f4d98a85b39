/** The shapes of the wire, from docs/reference/wire.md, in one place. */

import type { LogLine, RunProgress } from "@/lib/frames";
import type { WireNumber } from "@/lib/numbers";
import type { Json, JsonObject } from "@/lib/paths";
import type { RunState } from "@/lib/runStates";

export interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

export type Role = "viewer" | "member" | "admin" | "owner";

export interface OrgOfMe {
  readonly slug: string;
  readonly name: string;
  readonly role: Role;
  readonly can: readonly string[];
}

export interface Me {
  readonly user: {
    readonly id: string;
    readonly email: string;
    readonly name: string;
    readonly is_staff: boolean;
  };
  readonly via: "session" | "token";
  readonly orgs: readonly OrgOfMe[];
}

export interface Project {
  readonly slug: string;
  readonly name: string;
  readonly description: string;
  readonly runs: number;
  readonly active: number;
}

export interface RecipeExample {
  readonly title: string;
  readonly spec: JsonObject;
  readonly cost_s: number;
}

export interface RecipeMetric {
  readonly key: string;
  readonly unit: string;
  readonly goal: "min" | "max" | null;
  readonly help: string;
  readonly primary: boolean;
}

export interface Recipe {
  readonly name: string;
  readonly version: string;
  readonly title: string;
  readonly description: string;
  readonly family: string;
  readonly examples: readonly RecipeExample[];
  readonly metrics: readonly RecipeMetric[];
}

export interface RecipeDetail extends Recipe {
  readonly schema: JsonObject;
}

export interface MetricSummary {
  readonly last: WireNumber | null;
  readonly min: WireNumber | null;
  readonly max: WireNumber | null;
  readonly last_step: number | null;
  readonly n: number;
}

export interface Resources {
  readonly kind: string;
  readonly devices: number;
  readonly time_limit_s: number;
}

export interface Run {
  readonly id: string;
  readonly org: string;
  readonly project: string;
  readonly study: string | null;
  readonly arm: string;
  readonly name: string;
  readonly recipe: string;
  readonly recipe_version: string;
  readonly spec: JsonObject;
  readonly spec_hash: string;
  readonly seed: number;
  readonly tags: Readonly<Record<string, string>>;
  readonly notes: string;
  readonly external: boolean;
  readonly state: RunState;
  readonly intent: "run" | "preempt" | "pause" | "cancel";
  readonly reason: { readonly code: string; readonly message: string } | null;
  readonly attempt: number;
  readonly max_attempts: number;
  readonly epoch: number;
  readonly priority: number;
  readonly resources: Resources;
  readonly progress: RunProgress | null;
  readonly waiting: { readonly code: string; readonly message: string; readonly rank: number | null } | null;
  readonly metrics: Readonly<Record<string, MetricSummary>>;
  readonly parent: string | null;
  readonly node: string;
  readonly created_by: string | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly ended_at: string | null;
  readonly can: readonly string[];
}

export interface GroupMetric {
  readonly mean: WireNumber | null;
  readonly half_width: number | null;
  readonly n: number;
}

export interface RunGroup {
  readonly spec_hash: string;
  readonly recipe: string;
  readonly label: string;
  readonly n: number;
  readonly states: Readonly<Partial<Record<RunState, number>>>;
  readonly metrics: Readonly<Record<string, GroupMetric>>;
  readonly runs: readonly string[];
}

export interface RunPage extends Page<Run> {
  readonly total: number;
  readonly groups: readonly RunGroup[] | null;
}

export interface RunEvent {
  readonly id: number;
  readonly at: string;
  readonly epoch: number;
  readonly actor: string;
  readonly from_state: RunState | "";
  readonly to_state: RunState;
  readonly code: string;
  readonly message: string;
}

export interface Attempt {
  readonly epoch: number;
  readonly number: number;
  readonly node: string;
  readonly resume_step: number | null;
  readonly assigned_at: string;
  readonly started_at: string | null;
  readonly ended_at: string | null;
  readonly outcome: string;
}

export interface RunHistory extends Page<RunEvent> {
  readonly attempts: readonly Attempt[];
}

export interface SeriesInfo {
  readonly key: string;
  readonly n: number;
  readonly last: WireNumber | null;
  readonly min: WireNumber | null;
  readonly max: WireNumber | null;
  readonly last_step: number | null;
}

export interface LogPage extends Page<LogLine> {
  readonly prev_cursor?: string | null;
}

export interface Artifact {
  readonly path: string;
  readonly size_bytes: number;
  readonly sha256: string;
  readonly media_type: string;
  readonly epoch: number;
  readonly created_at: string;
}

export interface SeriesQuery {
  readonly runs: readonly string[];
  readonly keys: readonly string[];
  readonly x: string;
  readonly range: readonly [number, number] | null;
  readonly max_points: number;
  readonly group: "spec" | null;
}

export interface SeriesAnswer {
  readonly run: string;
  readonly key: string;
  readonly n: number;
  readonly exact: boolean;
  readonly per_bucket: number;
  readonly x: readonly number[];
  readonly value: readonly (WireNumber | null)[];
  readonly non_finite: readonly { readonly step: number; readonly x: number; readonly value: WireNumber }[];
  readonly non_finite_n: number;
}

export interface GroupSeries {
  readonly spec_hash: string;
  readonly key: string;
  readonly x: readonly number[];
  readonly mean: readonly (WireNumber | null)[];
  readonly lo: readonly (WireNumber | null)[];
  readonly hi: readonly (WireNumber | null)[];
  readonly n: readonly number[];
}

export interface SeriesResult {
  readonly series: readonly SeriesAnswer[];
  readonly groups: readonly GroupSeries[] | null;
}

export interface Study {
  readonly id: string;
  readonly org: string;
  readonly name: string;
  readonly project: string;
  readonly recipe: string;
  readonly arms: readonly { readonly name: string; readonly spec_hash: string }[];
  readonly seeds: readonly number[];
  readonly runs: readonly string[];
  readonly states: Readonly<Partial<Record<RunState, number>>>;
  readonly created_at: string;
}

export interface NewRun {
  readonly recipe: string;
  readonly spec: JsonObject;
  readonly seed: number;
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly resources: Resources;
  readonly parent: string | null;
}

export interface NewStudy {
  readonly name: string;
  readonly recipe: string;
  readonly spec: JsonObject;
  readonly arms: readonly { readonly name: string; readonly spec: JsonObject }[];
  readonly seeds: readonly number[];
  readonly resources: Resources;
}

export interface Benchmark {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly org: string;
  readonly recipe: string;
  readonly frozen: Readonly<Record<string, Json>>;
  readonly metric: string;
  readonly reduce: "last" | "min" | "max";
  readonly goal: "min" | "max";
  readonly target: number | null;
  readonly seeds: number;
  readonly version: number;
}

export interface BenchmarkEntry {
  readonly label: string;
  readonly spec_hash: string;
  readonly spec: JsonObject;
  readonly n: number;
  readonly failed: number;
  readonly mean: WireNumber | null;
  readonly lo: WireNumber | null;
  readonly hi: WireNumber | null;
  readonly rank: readonly [number, number] | null;
  readonly reached: number | null;
  readonly steps_to_target: { readonly mean: number | null; readonly n: number } | null;
  readonly runs: readonly string[];
  readonly complete: boolean;
}

export interface BenchmarkDetail extends Benchmark {
  readonly entries: readonly BenchmarkEntry[];
}

export type NewBenchmark = Omit<Benchmark, "id" | "org" | "version">;

export interface Member {
  readonly user: string;
  readonly email: string;
  readonly name: string;
  readonly role: Role;
  readonly created_at: string;
}

/** `password` is the first password of a new account, shown once. */
export interface MemberAdded extends Member {
  readonly password: string | null;
}

export interface Token {
  readonly id: string;
  readonly name: string;
  readonly user: string;
  readonly scopes: readonly string[];
  readonly created_at: string;
  readonly expires_at: string;
  readonly last_used_at: string | null;
  readonly revoked_at: string | null;
}

export interface TokenMade extends Token {
  readonly token: string;
}

export interface NodeDevice {
  readonly kind: string;
  readonly index: number;
  readonly name: string;
  readonly memory_bytes: number;
  readonly run?: string | null;
  readonly state?: string | null;
}

export interface NodeInfo {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly heartbeat_at: string | null;
  readonly devices: readonly NodeDevice[];
}

export interface Quota {
  readonly kind: string;
  readonly guaranteed: number;
  readonly max: number;
  readonly in_use: number;
  readonly borrow: boolean;
  readonly budget_hours: number | null;
  readonly used_hours: number | null;
}

export interface UsageRow {
  readonly kind: string;
  readonly project: string | null;
  readonly day?: string | null;
  readonly device_hours: number;
}
