/**
 * Spikes: points that stand far outside of what a chart otherwise shows. A robust range leaves them out, and then an
 * arrow at the edge tells value and place; a full range keeps them in and labels the largest.
 */

import type { Scene } from "./scene";

export interface Outlier {
  readonly x: number;
  readonly value: number;
  readonly side: "above" | "below";
}

export interface Outliers {
  /** What the other points span; null where nothing stands out. */
  readonly range: readonly [number, number] | null;
  /** The furthest first. */
  readonly points: readonly Outlier[];
}

const none: Outliers = { range: null, points: [] };

/** A chart of fewer values has no bulk to stand out of. */
const FEWEST = 100;
/** Quantiles of at most so many values, evenly picked: enough for the bulk, and fast while a chart is dragged. */
const SAMPLE = 2_000;
const TAIL = 0.01;
/** Further out of the bulk than so many times its span. */
const FAR = 3;
/** Where more points than this lie outside they are no spikes but part of the curve. */
const MOST = 0.02;

const known = new WeakMap<Scene, { readonly lo: number; readonly hi: number; readonly found: Outliers }>();

/** Outliers among the points with x in `[lo, hi]`. The answer for a scene's last range is remembered. */
export function outliersOf(scene: Scene, lo = -Infinity, hi = Infinity): Outliers {
  const before = known.get(scene);
  if (before?.lo === lo && before.hi === hi) return before.found;
  const found = find(scene, lo, hi);
  known.set(scene, { lo, hi, found });
  return found;
}

function find(scene: Scene, lo: number, hi: number): Outliers {
  const total = scene.lines.reduce((sum, line) => sum + line.x.length, 0);
  if (total < FEWEST) return none;
  const stride = Math.max(1, Math.floor(total / SAMPLE));
  const sample: number[] = [];
  let n = 0;
  for (const { x, value } of visible(scene, lo, hi)) {
    if (n % stride === 0 && Number.isFinite(x)) sample.push(value);
    n += 1;
  }
  if (n < FEWEST) return none;
  const sorted = Float64Array.from(sample).sort();
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? 0;
  const [low, high] = [at(TAIL), at(1 - TAIL)];
  const room = (high - low) * FAR;
  if (!(room > 0)) return none;

  const points: Outlier[] = [];
  let [bottom, top] = [low, high];
  for (const { x, value } of visible(scene, lo, hi)) {
    if (value > high + room) points.push({ x, value, side: "above" });
    else if (value < low - room) points.push({ x, value, side: "below" });
    else {
      bottom = Math.min(bottom, value);
      top = Math.max(top, value);
    }
  }
  if (points.length === 0 || points.length > Math.max(2, n * MOST)) return none;
  const distance = (point: Outlier): number =>
    point.side === "above" ? point.value - high : low - point.value;
  return { range: [bottom, top], points: points.sort((a, b) => distance(b) - distance(a)) };
}

function* visible(scene: Scene, lo: number, hi: number): Generator<{ x: number; value: number }> {
  for (const line of scene.lines) {
    const values = line.raw ?? line.y;
    for (let at = 0; at < line.x.length; at += 1) {
      const x = line.x[at] ?? NaN;
      const value = values[at] ?? NaN;
      if (x >= lo && x <= hi && Number.isFinite(value)) yield { x, value };
    }
  }
}
