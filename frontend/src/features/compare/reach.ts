/** How early each arm reaches what the baseline ends with. Pure. */

import type { SeriesResult } from "@/api/types";
import { meanInterval, type MeanInterval } from "@/lib/intervals";
import { fromWire } from "@/lib/numbers";
import type { Arm } from "./arms";

export interface ReachRow {
  readonly arm: Arm;
  /** By seed that the baseline has too: x at which its final value is reached over its final x; Infinity: never. */
  readonly ratios: readonly number[];
  /** Of the ratios where every seed reached it; n = 0 where one did not. */
  readonly interval: MeanInterval;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

function curve(result: SeriesResult, run: string, key: string): Point[] {
  const series = result.series.find((one) => one.run === run && one.key === key);
  if (series === undefined) return [];
  return series.x
    .map((x, at) => ({ x, y: fromWire(series.value[at] ?? null) }))
    .filter(({ y }) => Number.isFinite(y));
}

/** Where a line through the points first comes to `target`; Infinity where it does not. goal: which way is better. */
export function firstReached(points: readonly Point[], target: number, goal: "min" | "max"): number {
  const sign = goal === "min" ? 1 : -1;
  let before: Point | null = null;
  for (const point of points) {
    const gap = sign * (point.y - target);
    if (gap <= 0) {
      if (before === null) return point.x;
      const fall = sign * (before.y - target);
      return before.x + ((point.x - before.x) * fall) / (fall - gap);
    }
    before = point;
  }
  return Infinity;
}

/** One row for each arm but the baseline that shares a seed with it. */
export function reaches(
  arms: readonly Arm[],
  result: SeriesResult | undefined,
  { key, goal, baseline }: { key: string; goal: "min" | "max" | null; baseline: string },
): ReachRow[] {
  const base = arms.find((arm) => arm.hash === baseline);
  if (result === undefined || goal === null || base === undefined) return [];
  const ends = new Map<number, Point>();
  for (const run of base.runs) {
    const last = run.state === "SUCCEEDED" ? curve(result, run.id, key).at(-1) : undefined;
    if (last !== undefined && last.x > 0) ends.set(run.seed, last);
  }
  return arms
    .filter((arm) => arm !== base)
    .flatMap((arm) => {
      const ratios = arm.runs.flatMap((run) => {
        const end = ends.get(run.seed);
        const points = curve(result, run.id, key);
        if (end === undefined || points.length === 0 || run.state !== "SUCCEEDED") return [];
        return [firstReached(points, end.y, goal) / end.x];
      });
      if (ratios.length === 0) return [];
      return [{ arm, ratios, interval: meanInterval(ratios.every(Number.isFinite) ? ratios : []) }];
    });
}
