/** One place for how every line chart looks and reacts. */

import type uPlot from "uplot";
import { formatFixed, formatPower, formatShort } from "@/lib/numbers";
import { readToken, styleOf } from "@/tokens/series";
import { rolesOf } from "./plotData";
import { drawCrosses, drawEnds, drawMarks, drawOutliers, drawPin } from "./plotDraw";
import { outliersOf } from "./outliers";
import type { Scene, XKind } from "./scene";
import { tickX } from "./sentences";

// eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- uPlot's enum is declared const and has no values at run time
const kinds: { readonly linear: uPlot.Scale.Distr; readonly log: uPlot.Scale.Distr } = { linear: 1, log: 3 };

export type Range = readonly [number, number];

export interface PlotView {
  readonly width: number;
  readonly height: number;
  readonly kind: XKind;
  readonly yLog: boolean;
  readonly fromZero: boolean;
  /** Whether spikes may leave the y range; arrows at the edge then tell of them. */
  readonly robust: () => boolean;
  /** Where the cursor is pinned. */
  readonly pin: () => number | null;
  readonly syncKey: string;
  readonly zoom: () => Range | null;
  readonly yZoom: () => Range | null;
  readonly scene: () => Scene;
  readonly onZoom: (range: Range | null) => void;
  readonly onYZoom: (range: Range | null) => void;
  readonly onCursor: (u: uPlot) => void;
  readonly onPan: (u: uPlot, from: MouseEvent) => void;
}

/** Series tokens are #rrggbb. */
function alpha(color: string, share: number): string {
  return (
    color +
    Math.round(share * 255)
      .toString(16)
      .padStart(2, "0")
  );
}

function seriesOf(scene: Scene): uPlot.Series[] {
  const few = (line: number): boolean => (scene.lines[line]?.x.length ?? 0) < 40;
  return rolesOf(scene).map((role): uPlot.Series => {
    const line = scene.lines[role.line];
    const style = styleOf(line?.style ?? 0);
    const color = readToken(style.token);
    const base: uPlot.Series = {
      label: line?.label ?? "",
      scale: "y",
      points: { show: false },
      spanGaps: false,
    };
    if (role.kind === "lo" || role.kind === "hi") return { ...base, stroke: "transparent", width: 0 };
    if (role.kind === "raw") return { ...base, stroke: alpha(color, 0.34), width: 1 };
    const dash = scene.lines.length > 1 ? [...style.dash] : [];
    const dots = few(role.line) && scene.lines.length === 1 && line?.raw === null;
    return {
      ...base,
      stroke: color,
      width: 1.8,
      ...(dash.length > 0 ? { dash } : {}),
      points: dots ? { show: true, size: 6, fill: color, stroke: color, width: 0 } : { show: false },
    };
  });
}

function bandsOf(scene: Scene): uPlot.Band[] {
  const roles = rolesOf(scene);
  return roles.flatMap((role, at): uPlot.Band[] =>
    role.kind === "lo"
      ? [
          {
            series: [at + 2, at + 1],
            fill: alpha(readToken(styleOf(scene.lines[role.line]?.style ?? 0).token), 0.16),
          },
        ]
      : [],
  );
}

/** Differences below this share of the values are rounding, as in the smoothed line of a constant. */
const ROUNDING = 1e-9;
/** A narrower range holds no numbers that a step of its axis could tell apart: counting ticks would never end. */
const NARROWEST = 1e-12;

export function padded(low: number, high: number, fromZero: boolean): uPlot.Range.MinMax {
  const bottom = fromZero && low >= 0 ? 0 : low;
  const span = high - bottom;
  if (span <= Math.max(Math.abs(bottom), Math.abs(high)) * ROUNDING) {
    const room = Math.abs(high) * 0.1 || 1;
    return [bottom - room, high + room];
  }
  return [bottom === 0 && fromZero ? 0 : bottom - span * 0.06, high + span * 0.06];
}

/** The range, widened where it is too narrow for ticks. */
export function resolved(low: number, high: number): uPlot.Range.MinMax {
  const room = Math.max(Math.abs(low), Math.abs(high)) * NARROWEST;
  return high - low > room ? [low, high] : [low - room, high + room];
}

function yRange(view: PlotView, low: number | null, high: number | null): uPlot.Range.MinMax {
  const chosen = view.yZoom();
  if (chosen !== null) return resolved(chosen[0], chosen[1]);
  if (low === null || high === null) return view.yLog ? [0.1, 1] : [0, 1];
  if (!view.yLog) {
    const bulk = view.robust() ? outliersOf(view.scene(), ...(view.zoom() ?? [])).range : null;
    return bulk === null ? padded(low, high, view.fromZero) : padded(bulk[0], bulk[1], view.fromZero);
  }
  const floor = low > 0 ? low : high / 1e6;
  const room = Math.max(1.05, (high / floor) ** 0.06);
  return [floor / room, high * room];
}

function xRange(view: PlotView, low: number | null, high: number | null): uPlot.Range.MinMax {
  const chosen = view.zoom() ?? view.scene().xRange;
  if (chosen !== null) return resolved(chosen[0], chosen[1]);
  if (low === null || high === null) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : resolved(low, high);
}

/** Steps of 1, 2 and 5. */
const STEPS = Array.from({ length: 40 }, (_, at) => at - 20).flatMap((power) =>
  [1, 2, 5].map((factor) => Number(`${factor}e${power}`)),
);

/** Same decimals along an axis, and as many as the step needs. */
function tickTexts(splits: readonly number[]): string[] {
  const step = Math.abs((splits[1] ?? 0) - (splits[0] ?? 0));
  const top = Math.max(...splits.map(Math.abs));
  if (top >= 10_000) return splits.map(formatShort);
  if (top > 0 && top < 1e-3) return splits.map((value) => (value === 0 ? "0" : formatPower(value, 2)));
  const decimals = step > 0 ? Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) : 3;
  return splits.map((value) => formatFixed(value, Math.min(6, decimals)));
}

const linearAxis: uPlot.Axis = {
  space: (_, __, ___, ____, room) => Math.max(28, room / 6),
  incrs: STEPS,
  values: (_, splits) => tickTexts(splits),
};

/** Every multiple of a decade inside the range. */
function logSplits(low: number, high: number): number[] {
  const splits: number[] = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
    for (let factor = 1; factor < 10; factor += 1) {
      const value = Number(`${factor}e${power}`);
      if (value >= low && value <= high) splits.push(value);
    }
  }
  return splits;
}

/** Decades are labelled, and 2 and 5 between them, or all, where there are few. */
function logTexts(splits: readonly number[]): (string | null)[] {
  const decades = Math.log10((splits.at(-1) ?? 1) / (splits[0] ?? 1));
  const named = decades < 0.8 ? [1, 2, 3, 4, 5, 6, 8] : decades < 2.5 ? [1, 2, 5] : [1];
  return splits.map((value) => {
    const factor = Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
    if (!named.includes(factor)) return null;
    return value >= 1e-2 && value < 1e4 ? formatShort(value) : formatPower(value, 1);
  });
}

const logAxis: uPlot.Axis = {
  splits: (_, __, low, high) => logSplits(low, high),
  filter: (_, splits) => splits,
  values: (_, splits) => logTexts(splits),
};

/** Ticks of 1, 2 or 5 in a range, about as many as asked for. */
export function niceTicks(low: number, high: number, about: number): { at: number; text: string }[] {
  const step = STEPS.find((one) => (high - low) / one <= about) ?? high - low;
  const splits: number[] = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place += 1)
    splits.push(Number((place * step).toPrecision(12)));
  const texts = tickTexts(splits);
  return splits.map((at, index) => ({ at, text: texts[index] ?? "" }));
}

export function logTicks(low: number, high: number): { at: number; text: string }[] {
  const splits = logSplits(low, high);
  return logTexts(splits).flatMap((text, index) => (text === null ? [] : [{ at: splits[index] ?? 0, text }]));
}

export function plotOptions(view: PlotView): uPlot.Options {
  const axis: uPlot.Axis = {
    stroke: readToken("--axis"),
    font: '11px "Inter Variable", sans-serif',
    grid: { show: false },
    ticks: { show: true, stroke: readToken("--line-strong"), width: 1, size: 4 },
    gap: 3,
  };
  const scene = view.scene();
  const roles = rolesOf(scene);
  const drawnLine = (series: number): boolean => roles[series - 1]?.kind === "line";
  const sync: uPlot.Cursor.Sync = { key: view.syncKey, scales: ["x", null], setSeries: false };
  return {
    width: view.width,
    height: view.height,
    padding: [6, 18, 0, 0],
    legend: { show: false },
    focus: { alpha: 0.25 },
    scales: {
      x: { time: false, range: (_, low, high) => xRange(view, low, high) },
      y: { distr: view.yLog ? kinds.log : kinds.linear, range: (_, low, high) => yRange(view, low, high) },
    },
    series: [{}, ...seriesOf(scene)],
    bands: bandsOf(scene),
    axes: [
      {
        ...axis,
        size: 24,
        space: (_, __, ___, ____, room) => Math.max(46, room / 6),
        ...(view.kind === "step" ? { incrs: STEPS.filter((step) => step >= 1) } : {}),
        values: (_, splits) => splits.map((x) => tickX(x, view.kind)),
      },
      {
        ...axis,
        size: 46,
        ticks: { show: false },
        gap: 6,
        grid: { show: true, stroke: readToken("--grid"), width: 1 },
        ...(view.yLog ? logAxis : linearAxis),
      },
    ],
    cursor: {
      y: false,
      sync,
      // The line under the pointer stands out; bands and raw values follow theirs.
      focus: {
        prox: scene.lines.length > 1 ? 16 : -1,
        dist: (_, series, __, at, cursor) => (drawnLine(series) ? Math.abs(at - cursor) : Infinity),
      },
      points: {
        size: (_, series) => (drawnLine(series) ? 7 : 0),
        width: 2,
        stroke: () => readToken("--surface"),
      },
      drag: { x: true, y: false, setScale: false, dist: 4 },
      bind: {
        mousedown: (u, _, handler) => (event) => {
          if (event.shiftKey && event.button === 0) {
            view.onPan(u, event);
            return null;
          }
          const drag = u.cursor.drag;
          if (drag !== undefined) {
            drag.x = !event.altKey;
            drag.y = event.altKey;
          }
          handler(event);
          return null;
        },
        dblclick: () => () => {
          view.onYZoom(null);
          view.onZoom(null);
          return null;
        },
      },
    },
    hooks: {
      drawAxes: [(u) => drawMarks(u, view.scene())],
      draw: [
        (u) => {
          drawEnds(u, view.scene());
          drawOutliers(u, view.scene(), outliersOf(view.scene(), ...(view.zoom() ?? [])).points, view.kind);
          drawPin(u, view.pin());
          drawCrosses(u, view.scene());
        },
      ],
      setSeries: [
        (u, place) => {
          // What belongs to the line that stands out stands out with it.
          const line = place === null ? undefined : roles[place - 1]?.line;
          roles.forEach((role, at) => {
            const series = u.series[at + 1];
            if (series !== undefined && role.line === line) series.alpha = 1;
          });
        },
      ],
      setCursor: [view.onCursor],
      setSelect: [(u) => takeSelection(u, view)],
    },
  };
}

function takeSelection(u: uPlot, view: PlotView): void {
  const { left, top, width, height } = u.select;
  const alongY = u.cursor.drag?.y === true;
  if (alongY && height > 4) {
    view.onYZoom([u.posToVal(top + height, "y"), u.posToVal(top, "y")]);
  } else if (!alongY && width > 4) {
    view.onZoom([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
  }
  u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}
