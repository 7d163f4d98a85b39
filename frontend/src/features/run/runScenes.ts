/** The scenes of one run's charts, kept outside React: fed by the live stream and by queries, recomputed once a frame. */

import type { SeriesAnswer } from "@/api/types";
import {
  drawSoon,
  forgetDraw,
  SceneSource,
  type NonFinite,
  type Scene,
  type SceneMark,
  type XKind,
} from "@/charts/scene";
import { ema, isMonotone } from "@/charts/smoothing";
import { viewOf, type Columns } from "@/lib/columns";
import type { RunLive } from "@/lib/liveState";
import { fromWire } from "@/lib/numbers";

export interface SceneSettings {
  readonly kind: XKind;
  /** The series on the x axis where `kind` is "series". */
  readonly xKey: string;
  /** Weight of the average; 0 = off. */
  readonly smoothing: number;
  readonly rawBehind: boolean;
  readonly logKeys: ReadonlySet<string>;
  /** Seconds since 1970, the origin of relative time. */
  readonly startedAt: number;
  readonly marks: readonly SceneMark[];
  readonly zoomed: boolean;
}

interface Values {
  readonly x: ArrayLike<number>;
  readonly y: ArrayLike<number>;
  readonly nonFinite: readonly NonFinite[];
  readonly nonFiniteCount: number;
  readonly perBucket: number;
}

/** An average over a series this short would lag behind it more than it calms it. */
const SHORT = 100;
const MOST_CROSSES = 100;

export class RunScenes {
  private readonly sources = new Map<string, SceneSource>();
  private keyList: readonly string[] = [];
  private readonly keyListeners = new Set<() => void>();
  private liveSeries: ReadonlyMap<string, Columns> = new Map();
  private answers: ReadonlyMap<string, SeriesAnswer> = new Map();
  private stale = new Set<string>();
  private readonly update = (): void => this.recompute();

  constructor(private settings: SceneSettings) {}

  getKeys = (): readonly string[] => this.keyList;

  onKeys = (listener: () => void): (() => void) => {
    this.keyListeners.add(listener);
    return () => this.keyListeners.delete(listener);
  };

  source(key: string): SceneSource {
    let source = this.sources.get(key);
    if (source === undefined) {
      source = new SceneSource();
      this.sources.set(key, source);
      this.markStale([key]);
    }
    return source;
  }

  configure(settings: SceneSettings): void {
    this.settings = settings;
    this.markStale(this.keyList);
  }

  setLive(state: RunLive): void {
    const changed = [...state.series].filter(([key, columns]) => this.liveSeries.get(key) !== columns);
    this.liveSeries = state.series;
    this.addKeys(changed.map(([key]) => key));
    const moved = this.settings.kind === "series" && changed.some(([key]) => key === this.settings.xKey);
    this.markStale(moved ? this.keyList : changed.map(([key]) => key));
  }

  setAnswers(answers: readonly SeriesAnswer[]): void {
    const before = this.answers;
    this.answers = new Map(answers.map((answer) => [answer.key, answer]));
    this.addKeys([...this.answers.keys()]);
    this.markStale([...this.answers].flatMap(([key, answer]) => (before.get(key) === answer ? [] : [key])));
  }

  addKeys(keys: readonly string[]): void {
    const added = keys.filter((key) => !this.keyList.includes(key));
    if (added.length === 0) return;
    this.keyList = [...this.keyList, ...added].sort();
    this.keyListeners.forEach((listener) => listener());
  }

  dispose(): void {
    forgetDraw(this.update);
  }

  private markStale(keys: Iterable<string>): void {
    for (const key of keys) this.stale.add(key);
    drawSoon(this.update);
  }

  private recompute(): void {
    const due = this.stale;
    this.stale = new Set();
    for (const key of due) this.sources.get(key)?.set(this.sceneOf(key));
  }

  private sceneOf(key: string): Scene {
    const { kind, smoothing, rawBehind, logKeys, marks, zoomed } = this.settings;
    const values = this.valuesOf(key, zoomed);
    const smooth = smoothing > 0 && values.x.length >= SHORT && !isMonotone(values.y);
    const y = smooth ? ema(values.y, smoothing, logKeys.has(key)) : values.y;
    const raw = smooth && rawBehind ? values.y : null;
    return {
      lines: values.x.length === 0 ? [] : [{ label: key, style: 0, x: values.x, y, raw, band: null }],
      nonFinite: values.nonFinite,
      nonFiniteCount: values.nonFiniteCount,
      marks: kind === "step" ? marks : [],
      perBucket: values.perBucket,
      xRange: null,
    };
  }

  private valuesOf(key: string, zoomed: boolean): Values {
    const live = this.liveSeries.get(key);
    const answer = this.answers.get(key);
    if (live !== undefined && !zoomed) return this.fromLive(live);
    if (answer === undefined) {
      return live === undefined
        ? { x: [], y: [], nonFinite: [], nonFiniteCount: 0, perBucket: 1 }
        : this.fromLive(live);
    }
    return live === undefined ? fromAnswer(answer) : joined(fromAnswer(answer), this.fromLive(live));
  }

  private overSeries(columns: Columns, over: Columns | undefined): Values {
    if (over === undefined) return { x: [], y: [], nonFinite: [], nonFiniteCount: 0, perBucket: 1 };
    const [points, axis] = [viewOf(columns), viewOf(over)];
    const { x, y } = alignedPoints(points.step, points.value, axis.step, axis.value);
    return {
      x,
      y,
      nonFinite: [],
      nonFiniteCount: y.filter((one) => !Number.isFinite(one)).length,
      perBucket: 1,
    };
  }

  private fromLive(columns: Columns): Values {
    const { kind, startedAt, xKey } = this.settings;
    if (kind === "series") return this.overSeries(columns, this.liveSeries.get(xKey));
    const { step, value, time } = viewOf(columns);
    const x = kind === "step" ? step : kind === "time" ? time : time.map((at) => at - startedAt);
    const nonFinite: NonFinite[] = [];
    let count = 0;
    value.forEach((one, at) => {
      if (Number.isFinite(one)) return;
      count += 1;
      if (nonFinite.length < MOST_CROSSES) nonFinite.push({ x: x[at] ?? 0, text: nameOf(one) });
    });
    return { x, y: value, nonFinite, nonFiniteCount: count, perBucket: 1 };
  }
}

/** Points of one series against what another was at the same step, or last before it; in the order of x. */
export function alignedPoints(
  step: ArrayLike<number>,
  value: ArrayLike<number>,
  xStep: ArrayLike<number>,
  xValue: ArrayLike<number>,
): { x: number[]; y: number[] } {
  const points: [number, number][] = [];
  let at = -1;
  for (let i = 0; i < step.length; i += 1) {
    while (at + 1 < xStep.length && (xStep[at + 1] ?? Infinity) <= (step[i] ?? 0)) at += 1;
    const x = xValue[at];
    if (x !== undefined && Number.isFinite(x)) points.push([x, value[i] ?? NaN]);
  }
  points.sort((a, b) => a[0] - b[0]);
  return { x: points.map(([x]) => x), y: points.map(([, y]) => y) };
}

function nameOf(value: number): string {
  return Number.isNaN(value) ? "NaN" : "inf";
}

function fromAnswer(answer: SeriesAnswer): Values {
  return {
    x: answer.x,
    y: answer.value.map((value) => fromWire(value)),
    nonFinite: answer.non_finite.map((point) => ({ x: point.x, text: nameOf(fromWire(point.value)) })),
    nonFiniteCount: answer.non_finite_n,
    perBucket: answer.exact ? 1 : answer.per_bucket,
  };
}

/** A zoomed answer, continued by what arrived since. */
function joined(base: Values, live: Values): Values {
  const last = base.x[base.x.length - 1] ?? -Infinity;
  let from = live.x.length;
  while (from > 0 && (live.x[from - 1] ?? -Infinity) > last) from -= 1;
  if (from === live.x.length) return base;
  const tail = (values: ArrayLike<number>): number[] => Array.from(values).slice(from);
  return {
    ...base,
    x: [...Array.from(base.x), ...tail(live.x)],
    y: [...Array.from(base.y), ...tail(live.y)],
  };
}

/** Which group a key belongs to: what stands before the first slash, nothing where there is none. */
export function groupOfKey(key: string): string {
  const slash = key.indexOf("/");
  return slash < 0 ? "" : key.slice(0, slash);
}

const FIRST = ["eval", "train", ""];
const LAST = ["perf", "system"];

/** A group of fewer charts than this does not get a heading of its own. */
const SMALL_GROUP = 3;

/**
 * Groups in the order of interest: evaluation and training first, machinery last; the primary metric leads.
 * Small groups and keys without one share the first section, so that charts fill the page.
 */
export function groupedKeys(keys: readonly string[], primary: string | undefined): [string, string[]][] {
  const groups = new Map<string, string[]>();
  for (const key of keys) groups.set(groupOfKey(key), [...(groups.get(groupOfKey(key)) ?? []), key]);
  const place = (name: string): number => {
    if (primary !== undefined && groupOfKey(primary) === name) return -1;
    if (FIRST.includes(name)) return FIRST.indexOf(name);
    return LAST.includes(name) ? 100 + LAST.indexOf(name) : 50;
  };
  const sorted = [...groups].sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b));
  const lead = (a: string, b: string): number => Number(b === primary) - Number(a === primary);
  const alone = ([name, list]: readonly [string, readonly string[]]): boolean =>
    name !== "" && list.length >= SMALL_GROUP;
  const main = sorted.filter((group) => !alone(group)).flatMap(([, list]) => [...list].sort());
  const large = sorted
    .filter(alone)
    .map(([name, list]): [string, string[]] => [
      name,
      [...list].sort((a, b) => lead(a, b) || a.localeCompare(b)),
    ]);
  if (main.length === 0) return large;
  const matters = main.some((key) => key === primary || FIRST.includes(groupOfKey(key)));
  // What says little of the run does not stand before the metrics that it is about.
  if (!matters && large.some(([name]) => place(name) < FIRST.length)) return [...large, ["Other", main]];
  return [["Main", main.sort(lead)], ...large];
}
