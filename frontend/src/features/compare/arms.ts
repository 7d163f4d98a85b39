/** Runs as arms: what differs by seed alone belongs together. Pure. */

import type { Run } from "@/api/types";
import { armDifference, holm, meanInterval, type Difference, type MeanInterval } from "@/lib/intervals";
import { fromWire } from "@/lib/numbers";
import { leaves, sameJson, type Json } from "@/lib/paths";

export interface Arm {
  readonly hash: string;
  readonly label: string;
  readonly runs: readonly Run[];
  /** Place in the series order; colour follows the arm, not the rank. */
  readonly style: number;
}

export function armLabel(run: Run): string {
  return run.arm !== "" ? run.arm : run.name.replace(/, seed \d+$/, "");
}

/** In the order in which the runs were given. External runs have no spec and stand alone. */
export function armsOf(runs: readonly Run[]): Arm[] {
  const byHash = new Map<string, Run[]>();
  for (const run of runs) {
    const hash = run.spec_hash === "" ? run.id : run.spec_hash;
    byHash.set(hash, [...(byHash.get(hash) ?? []), run]);
  }
  const entries = [...byHash];
  const labels = entries.map(([, members]) => (members[0] === undefined ? "" : armLabel(members[0])));
  return entries.map(([hash, members], style) => {
    const label = labels[style] ?? "";
    const twice = labels.filter((one) => one === label).length > 1;
    return { hash, label: twice ? `${label} (${hash.slice(0, 6)})` : label, runs: members, style };
  });
}

export interface FinalRow {
  readonly arm: Arm;
  readonly interval: MeanInterval;
  readonly values: readonly number[];
  /** None of the arm's runs has finished: the values are those of the moment. */
  readonly live: boolean;
  readonly lastSteps: readonly number[];
  readonly difference: Difference | null;
  readonly p: number | null;
}

function valuesOf(arm: Arm, key: string): { seeds: Map<number, number>; live: boolean; steps: number[] } {
  const finished = arm.runs.filter((run) => run.state === "SUCCEEDED");
  const used = finished.length > 0 ? finished : arm.runs;
  const seeds = new Map<number, number>();
  const steps: number[] = [];
  for (const run of used) {
    const summary = run.metrics[key];
    if (summary === undefined || summary.last === null) continue;
    seeds.set(run.seed, fromWire(summary.last));
    if (summary.last_step !== null) steps.push(summary.last_step);
  }
  return { seeds, live: finished.length === 0, steps };
}

/** Final values with intervals; differences to the baseline, paired by seed where seeds are shared, p after Holm. */
export function finals(arms: readonly Arm[], key: string, baseline: string): FinalRow[] {
  const base = arms.find((arm) => arm.hash === baseline);
  const baseSeeds = base === undefined ? new Map<number, number>() : valuesOf(base, key).seeds;
  const rows = arms.map((arm) => {
    const { seeds, live, steps } = valuesOf(arm, key);
    const values = [...seeds.values()];
    const difference =
      arm.hash === baseline || values.length === 0 || baseSeeds.size === 0
        ? null
        : armDifference(seeds, baseSeeds);
    return { arm, interval: meanInterval(values), values, live, lastSteps: steps, difference };
  });
  const adjusted = holm(rows.map((row) => row.difference?.p ?? null));
  return rows.map((row, at) => ({ ...row, p: adjusted[at] ?? null }));
}

export interface DiffRow {
  readonly path: string;
  readonly values: readonly (Json | undefined)[];
}

/** Values of the specs in which the arms are not all alike. */
export function configDiff(arms: readonly Arm[]): DiffRow[] {
  const specs = arms.map((arm) => new Map(leaves(arm.runs[0]?.spec ?? {})));
  const paths = new Set(specs.flatMap((spec) => [...spec.keys()]));
  return [...paths]
    .map((path) => ({ path, values: specs.map((spec) => spec.get(path)) }))
    .filter(({ values }) => values.some((value) => !sameJson(value, values[0])))
    .sort((a, b) => a.path.localeCompare(b.path));
}
