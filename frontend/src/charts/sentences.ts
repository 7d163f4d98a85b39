/** A chart in one sentence, and its points as a table: what the picture says, without the picture. */

import { formatShort, formatValue, plural } from "@/lib/numbers";
import { formatClock, formatDuration } from "@/lib/times";
import type { Scene, SceneLine, XKind } from "./scene";

export function formatX(x: number, kind: XKind): string {
  if (kind === "relative") return formatDuration(x);
  if (kind === "time") return formatClock(new Date(x * 1000), true);
  return `step ${formatValue(x)}`;
}

export function tickX(x: number, kind: XKind): string {
  if (kind === "time") return formatClock(new Date(x * 1000));
  return kind === "relative" ? formatDuration(x) : formatShort(x);
}

interface Extent {
  readonly first: number;
  readonly last: number;
  readonly low: number;
  readonly lowX: number;
  readonly firstX: number;
  readonly lastX: number;
  readonly n: number;
}

function extentOf(line: SceneLine): Extent | null {
  const values = line.raw ?? line.y;
  let [first, low, last, n] = [-1, -1, -1, 0];
  const at = (index: number): number => values[index] ?? NaN;
  for (let index = 0; index < values.length; index += 1) {
    if (!Number.isFinite(at(index))) continue;
    if (first < 0) first = index;
    if (low < 0 || at(index) < at(low)) low = index;
    last = index;
    n += 1;
  }
  const x = (index: number): number => line.x[index] ?? NaN;
  if (first < 0) return null;
  return {
    first: at(first),
    last: at(last),
    low: at(low),
    lowX: x(low),
    firstX: x(first),
    lastX: x(last),
    n,
  };
}

export function sentenceOf(name: string, scene: Scene, kind: XKind): string {
  const line = scene.lines[0];
  const extent = line === undefined ? null : extentOf(line);
  if (line === undefined || extent === null) {
    return scene.nonFiniteCount > 0 ? `${name} has no finite value.` : `${name} has no points yet.`;
  }
  if (scene.lines.length > 1) {
    const ends = scene.lines.map((one) => {
      const end = extentOf(one);
      return `${one.label} ${end === null ? "no value" : formatValue(end.last)}`;
    });
    return `${name}, last values: ${ends.join(", ")}.`;
  }
  if (extent.n === 1)
    return `${name} is ${formatValue(extent.last)} at ${formatX(extent.lastX, kind)}, its only point.`;
  const verb = extent.last < extent.first ? "fell" : extent.last > extent.first ? "rose" : "stayed";
  const change =
    verb === "stayed"
      ? `stayed at ${formatValue(extent.last)}`
      : `${verb} from ${formatValue(extent.first)} to ${formatValue(extent.last)}`;
  const where =
    extent.lowX === extent.lastX
      ? "lowest at the end"
      : `lowest ${formatValue(extent.low)} at ${formatX(extent.lowX, kind)}`;
  const bad = scene.nonFiniteCount > 0 ? `, ${plural(scene.nonFiniteCount, "value")} not finite` : "";
  return `${name} ${change} between ${formatX(extent.firstX, kind)} and ${formatX(extent.lastX, kind)}, ${where}${bad}.`;
}

export interface TableRow {
  readonly x: number;
  readonly values: readonly (number | null)[];
}

/** At most `most` rows, evenly picked, always with the last. Values are the raw ones. */
export function rowsOf(scene: Scene, most: number): TableRow[] {
  const rows = new Map<number, (number | null)[]>();
  scene.lines.forEach((line, place) => {
    const values = line.raw ?? line.y;
    for (let at = 0; at < line.x.length; at += 1) {
      const x = line.x[at] ?? NaN;
      const row = rows.get(x) ?? scene.lines.map(() => null);
      row[place] = values[at] ?? null;
      rows.set(x, row);
    }
  });
  const all = [...rows].sort(([a], [b]) => a - b).map(([x, values]) => ({ x, values }));
  if (all.length <= most) return all;
  const stride = (all.length - 1) / (most - 1);
  return Array.from({ length: most }, (_, at) => all[Math.round(at * stride)]).filter(
    (row) => row !== undefined,
  );
}

/** A spreadsheet must not read a name as a formula. */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Raw values, never smoothed. */
export function csvOf(scene: Scene, xName: string): string {
  const head = [xName, ...scene.lines.map((line) => line.label)].map(cell).join(",");
  const body = rowsOf(scene, Infinity).map(({ x, values }) =>
    [x, ...values].map((value) => (value === null ? "" : String(value))).join(","),
  );
  return [head, ...body].join("\n");
}
