/** A chart as an SVG file: the lines, bands, axes and marks that the canvas shows, as shapes and text to edit. */

import { styleOf, type Marker } from "@/tokens/series";
import { m4 } from "./m4";
import { logTicks, niceTicks } from "./plotOptions";
import type { Scene, SceneLine, XKind } from "./scene";
import { tickX } from "./sentences";

export interface SvgView {
  readonly width: number;
  readonly height: number;
  readonly x: readonly [number, number];
  readonly y: readonly [number, number];
  readonly kind: XKind;
  readonly log: boolean;
  readonly caption: string;
  /** The value of a colour token. */
  readonly color: (token: string) => string;
}

const [HEAD, LEFT, RIGHT, BOTTOM] = [30, 52, 18, 24];
const LEGEND_ROW = 18;

const escaped = (text: string): string =>
  text.replace(
    /[&<>"]/g,
    (letter) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[letter] ?? "",
  );

/** Whole pixels and tenths: what a printer can tell apart. */
const r = (value: number): string => String(Math.round(value * 10) / 10);

export function svgOf(scene: Scene, view: SvgView): string {
  const several = scene.lines.length > 1;
  const foot = several ? scene.lines.length * LEGEND_ROW + 8 : 0;
  const inner = { width: view.width - LEFT - RIGHT, height: view.height - BOTTOM - 6 };
  const top = HEAD + 6;
  const share = (value: number, [low, high]: readonly [number, number], log: boolean): number =>
    log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low || 1);
  const px = (x: number): number => LEFT + share(x, view.x, false) * inner.width;
  const py = (y: number): number => top + (1 - share(y, view.y, view.log)) * inner.height;
  const color = (line: SceneLine): string => view.color(styleOf(line.style).token);
  const text = (x: number, y: number, words: string, anchor: string, fill: string, more = ""): string =>
    `<text x="${r(x)}" y="${r(y)}" text-anchor="${anchor}" fill="${view.color(fill)}" ${more}>${escaped(words)}</text>`;

  const yTicks = view.log ? logTicks(view.y[0], view.y[1]) : niceTicks(view.y[0], view.y[1], 6);
  const xTicks = niceTicks(view.x[0], view.x[1], Math.max(2, inner.width / 80));
  const grid = yTicks.map(
    ({ at, text: words }) =>
      `<path d="M${LEFT} ${r(py(at))}h${r(inner.width)}" stroke="${view.color("--grid")}"/>` +
      text(LEFT - 6, py(at) + 4, words, "end", "--axis"),
  );
  const below = xTicks.map(({ at }) =>
    text(px(at), top + inner.height + 17, tickX(at, view.kind), "middle", "--axis"),
  );
  const marks = scene.marks
    .filter((mark) => mark.x >= view.x[0] && mark.x <= view.x[1])
    .map(
      (mark) =>
        `<path d="M${r(px(mark.x))} ${top}v${r(inner.height)}" stroke="${view.color("--control")}" stroke-dasharray="2 3"/>` +
        text(px(mark.x) + 4, top + 10, mark.label, "start", "--ink-3"),
    );
  const bands = scene.lines.map((line) => bandOf(line, px, py, color(line)));
  const raws = scene.lines.map((line) =>
    line.raw === null
      ? ""
      : pathOf(line.x, line.raw, inner.width, px, py, `stroke="${color(line)}" stroke-opacity="0.34"`),
  );
  const lines = scene.lines.map((line) => {
    const { dash } = styleOf(line.style);
    const broken = several && dash.length > 0 ? ` stroke-dasharray="${dash.join(" ")}"` : "";
    return pathOf(line.x, line.y, inner.width, px, py, `stroke="${color(line)}" stroke-width="1.8"${broken}`);
  });
  const crosses = scene.nonFinite
    .filter((point) => point.x >= view.x[0] && point.x <= view.x[1])
    .map(
      (point) =>
        `<path d="M${r(px(point.x) - 3.5)} ${r(top + inner.height - 10.5)}l7 7m0-7l-7 7" stroke="${view.color("--bad-graphic")}" stroke-width="1.6"/>`,
    );
  const legend = several
    ? scene.lines.map((line, at) => {
        const y = view.height + HEAD + at * LEGEND_ROW + 12;
        const { dash, marker } = styleOf(line.style);
        return (
          `<path d="M${LEFT} ${y}h26" stroke="${color(line)}" stroke-width="1.8" stroke-dasharray="${dash.join(" ")}"/>` +
          markerOf(marker, LEFT + 13, y, color(line), view.color("--surface")) +
          text(LEFT + 34, y + 4, line.label, "start", "--ink")
        );
      })
    : [];
  const height = view.height + HEAD + foot;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${view.width}" height="${height}" viewBox="0 0 ${view.width} ${height}" font-family="Inter, Helvetica, Arial, sans-serif" font-size="11">`,
    `<title>${escaped(view.caption)}</title>`,
    `<rect width="100%" height="100%" fill="${view.color("--surface")}"/>`,
    text(12, 20, view.caption, "start", "--ink", 'font-size="13" font-weight="600"'),
    `<clipPath id="inner"><rect x="${LEFT}" y="${top}" width="${r(inner.width)}" height="${r(inner.height)}"/></clipPath>`,
    ...grid,
    ...below,
    `<g clip-path="url(#inner)" fill="none" stroke-linejoin="round">`,
    ...bands,
    ...marks,
    ...raws,
    ...lines,
    ...crosses,
    "</g>",
    ...legend,
    "</svg>",
  ]
    .filter((part) => part !== "")
    .join("\n");
}

type Place = (value: number) => number;

function pathOf(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  width: number,
  px: Place,
  py: Place,
  look: string,
): string {
  const kept = m4(x, y, Math.round(width)) ?? Array.from({ length: x.length }, (_, at) => at);
  let [d, pen] = ["", "M"];
  for (const at of kept) {
    const place = py(y[at] ?? NaN);
    if (!Number.isFinite(place)) {
      pen = "M";
      continue;
    }
    d += `${pen}${r(px(x[at] ?? 0))} ${r(place)}`;
    pen = "L";
  }
  return d === "" ? "" : `<path d="${d}" ${look}/>`;
}

function bandOf(line: SceneLine, px: Place, py: Place, color: string): string {
  if (line.band === null) return "";
  const { lo, hi } = line.band;
  const at = Array.from({ length: line.x.length }, (_, index) => index).filter(
    (index) => Number.isFinite(py(lo[index] ?? NaN)) && Number.isFinite(py(hi[index] ?? NaN)),
  );
  if (at.length < 2) return "";
  const point = (values: ArrayLike<number>) => (index: number) =>
    `${r(px(line.x[index] ?? 0))} ${r(py(values[index] ?? 0))}`;
  const edge = [...at.map(point(hi)), ...at.reverse().map(point(lo))];
  return `<path d="M${edge.join("L")}Z" fill="${color}" fill-opacity="0.16"/>`;
}

function markerOf(marker: Marker, x: number, y: number, color: string, surface: string): string {
  const s = 3.6;
  const fill = marker.startsWith("open") ? surface : color;
  const shapes: Record<Marker, string> = {
    circle: `M${-s} 0a${s} ${s} 0 1 0 ${2 * s} 0a${s} ${s} 0 1 0 ${-2 * s} 0Z`,
    "open-circle": `M${-s} 0a${s} ${s} 0 1 0 ${2 * s} 0a${s} ${s} 0 1 0 ${-2 * s} 0Z`,
    square: `M${-s} ${-s}h${2 * s}v${2 * s}h${-2 * s}Z`,
    "open-square": `M${-s} ${-s}h${2 * s}v${2 * s}h${-2 * s}Z`,
    diamond: `M0 ${-s * 1.2}L${s * 1.2} 0L0 ${s * 1.2}L${-s * 1.2} 0Z`,
    "open-diamond": `M0 ${-s * 1.2}L${s * 1.2} 0L0 ${s * 1.2}L${-s * 1.2} 0Z`,
    "triangle-up": `M0 ${-s * 1.15}L${s * 1.15} ${s}H${-s * 1.15}Z`,
    "triangle-down": `M0 ${s * 1.15}L${s * 1.15} ${-s}H${-s * 1.15}Z`,
    plus: `M0 ${-s}V${s}M${-s} 0H${s}`,
    cross: `M${-s} ${-s}L${s} ${s}M${s} ${-s}L${-s} ${s}`,
  };
  return `<path transform="translate(${r(x)} ${r(y)})" d="${shapes[marker]}" fill="${fill}" stroke="${color}" stroke-width="1.6"/>`;
}
