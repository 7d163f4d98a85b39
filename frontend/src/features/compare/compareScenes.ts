/** Scenes of the overlay, from answers of the series query. Pure. */

import type { SeriesResult } from "@/api/types";
import { emptyScene, type NonFinite, type Scene, type SceneLine } from "@/charts/scene";
import { ema, isMonotone } from "@/charts/smoothing";
import { fromWire } from "@/lib/numbers";
import type { Arm } from "./arms";

export interface OverlaySettings {
  readonly key: string;
  readonly lines: "mean" | "seeds";
  readonly smoothing: number;
  readonly log: boolean;
}

const wire = (values: readonly (number | string | null)[]): number[] =>
  values.map((value) => fromWire(value));

function smooth(
  values: readonly number[],
  settings: OverlaySettings,
): { y: ArrayLike<number>; raw: number[] | null } {
  if (settings.smoothing === 0 || isMonotone(values)) return { y: values, raw: null };
  return { y: ema(values, settings.smoothing, settings.log), raw: [...values] };
}

function meanLine(arm: Arm, result: SeriesResult, settings: OverlaySettings): SceneLine[] {
  const group = result.groups.find((one) => one.spec_hash === arm.hash && one.key === settings.key);
  if (group === undefined) return seedLines(arm, result, settings);
  const several = group.n.some((n) => n > 1);
  const band = several ? { lo: bounded(group.lo, group.n), hi: bounded(group.hi, group.n) } : null;
  return [
    {
      label: arm.label,
      style: arm.style,
      x: group.x,
      ...smooth(wire(group.mean), settings),
      raw: null,
      band,
    },
  ];
}

/** Where n falls to one the band stops. */
function bounded(values: readonly (number | string | null)[], n: readonly number[]): number[] {
  return wire(values).map((value, at) => ((n[at] ?? 0) > 1 ? value : NaN));
}

function seedLines(arm: Arm, result: SeriesResult, settings: OverlaySettings): SceneLine[] {
  return arm.runs.flatMap((run) => {
    const series = result.series.find((one) => one.run === run.id && one.key === settings.key);
    if (series === undefined || series.x.length === 0) return [];
    const again = arm.runs.some((other) => other !== run && other.seed === run.seed);
    const seed = again ? `seed ${run.seed} ${run.id}` : `seed ${run.seed}`;
    const label = arm.runs.length > 1 ? `${arm.label}, ${seed}` : arm.label;
    return [{ label, style: arm.style, x: series.x, ...smooth(wire(series.value), settings), band: null }];
  });
}

export function overlayScene(
  arms: readonly Arm[],
  result: SeriesResult | undefined,
  settings: OverlaySettings,
): Scene {
  if (result === undefined) return emptyScene;
  const lines = arms.flatMap((arm) =>
    settings.lines === "mean" ? meanLine(arm, result, settings) : seedLines(arm, result, settings),
  );
  const mine = result.series.filter((series) => series.key === settings.key);
  const nonFinite: NonFinite[] = mine.flatMap((series) =>
    series.non_finite.map((point) => ({
      x: point.x,
      text: Number.isNaN(fromWire(point.value)) ? "NaN" : "inf",
    })),
  );
  return {
    ...emptyScene,
    lines,
    nonFinite,
    nonFiniteCount: mine.reduce((sum, series) => sum + series.non_finite_n, 0),
    perBucket: mine.reduce((most, series) => Math.max(most, series.exact ? 1 : series.per_bucket), 1),
  };
}
