/** From a scene to the aligned columns that uPlot draws, at most four points a pixel and line. */

import uPlot from "uplot";
import { m4 } from "./m4";
import type { Scene, SceneLine } from "./scene";

type Column = (number | null)[];

/** What a uPlot series is for; bands come first, so that they lie below all lines. */
export interface SeriesRole {
  readonly kind: "lo" | "hi" | "raw" | "line";
  readonly line: number;
}

export function rolesOf(scene: Scene): SeriesRole[] {
  const bands = scene.lines.flatMap<SeriesRole>((line, at) =>
    line.band === null
      ? []
      : [
          { kind: "lo", line: at },
          { kind: "hi", line: at },
        ],
  );
  const lines = scene.lines.flatMap<SeriesRole>((line, at) => [
    ...(line.raw === null ? [] : [{ kind: "raw" as const, line: at }]),
    { kind: "line" as const, line: at },
  ]);
  return [...bands, ...lines];
}

/** Two scenes of the same shape can share a uPlot instance. */
export function shapeOf(scene: Scene): string {
  return scene.lines
    .map((line) => `${line.style}${line.raw === null ? "" : "r"}${line.band === null ? "" : "b"}`)
    .join(",");
}

function pick(values: ArrayLike<number>, at: Uint32Array | null): Column {
  const finite = (value: number | undefined): number | null =>
    value !== undefined && Number.isFinite(value) ? value : null;
  return at === null ? Array.from(values, finite) : Array.from(at, (index) => finite(values[index]));
}

function thinned(line: SceneLine, width: number): { x: number[]; columns: Map<SeriesRole["kind"], Column> } {
  const at = m4(line.x, line.raw ?? line.y, width);
  const columns = new Map<SeriesRole["kind"], Column>([["line", pick(line.y, at)]]);
  if (line.raw !== null) columns.set("raw", pick(line.raw, at));
  if (line.band !== null) {
    columns.set("lo", pick(line.band.lo, at));
    columns.set("hi", pick(line.band.hi, at));
  }
  const x = at === null ? Array.from(line.x) : Array.from(at, (index) => line.x[index] ?? 0);
  return { x, columns };
}

export function alignedData(scene: Scene, width: number): uPlot.AlignedData {
  const parts = scene.lines.map((line) => thinned(line, width));
  const only = parts[0];
  const roles = rolesOf(scene);
  if (only === undefined) return [[]];
  if (parts.length === 1) return [only.x, ...roles.map((role) => only.columns.get(role.kind) ?? [])];
  const tables = roles.map((role): uPlot.AlignedData => {
    const part = parts[role.line] ?? only;
    return [part.x, part.columns.get(role.kind) ?? []];
  });
  return uPlot.join(tables);
}
