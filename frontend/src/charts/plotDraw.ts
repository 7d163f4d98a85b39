/** What is drawn on the canvas beside lines and axes: attempt marks, crosses for what is not finite, end markers. */

import type uPlot from "uplot";
import { readToken, styleOf, type Marker } from "@/tokens/series";
import { formatValue } from "@/lib/numbers";
import type { Outlier } from "./outliers";
import type { Scene, XKind } from "./scene";
import { formatX } from "./sentences";

export function drawMarks(u: uPlot, scene: Scene): void {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * scale}px "Inter Variable", sans-serif`;
  ctx.fillStyle = readToken("--ink-3");
  ctx.strokeStyle = readToken("--control");
  ctx.lineWidth = scale;
  ctx.setLineDash([2 * scale, 3 * scale]);
  ctx.textBaseline = "top";
  for (const mark of scene.marks) {
    const x = Math.round(u.valToPos(mark.x, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const room = bbox.left + bbox.width - x > 60 * scale;
    ctx.textAlign = room ? "left" : "right";
    ctx.fillText(mark.label, x + (room ? 4 : -4) * scale, bbox.top);
  }
  ctx.restore();
}

export function drawCrosses(u: uPlot, scene: Scene): void {
  if (scene.nonFiniteCount === 0) return;
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  const y = bbox.top + bbox.height - 7 * scale;
  const arm = 3.5 * scale;
  ctx.save();
  ctx.strokeStyle = readToken("--bad-graphic");
  ctx.fillStyle = readToken("--bad");
  ctx.lineWidth = 1.6 * scale;
  let last = bbox.left;
  for (const point of scene.nonFinite) {
    const x = u.valToPos(point.x, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x - arm, y - arm);
    ctx.lineTo(x + arm, y + arm);
    ctx.moveTo(x + arm, y - arm);
    ctx.lineTo(x - arm, y + arm);
    ctx.stroke();
    last = x;
  }
  const kinds = new Set(scene.nonFinite.map((point) => point.text));
  const word = kinds.size === 1 ? [...kinds][0] : "not finite";
  ctx.font = `${11 * scale}px "Inter Variable", sans-serif`;
  ctx.textBaseline = "middle";
  const left = last > bbox.left + bbox.width * 0.6;
  ctx.textAlign = left ? "right" : "left";
  writeOver(ctx, `${scene.nonFiniteCount} ${word ?? ""}`, last + (left ? -8 : 8) * scale, y);
  ctx.restore();
}

/** Text with a rim of the surface, so that a line below does not strike it out. */
function writeOver(ctx: CanvasRenderingContext2D, text: string, x: number, y: number): void {
  const color = ctx.fillStyle;
  ctx.lineWidth = 4 * devicePixelRatio;
  ctx.lineJoin = "round";
  ctx.strokeStyle = readToken("--surface");
  ctx.strokeText(text, x, y);
  ctx.fillStyle = color;
  ctx.fillText(text, x, y);
}

const MOST_ARROWS = 40;

/** Spikes: an arrow at the edge where the range leaves them out, a ring where it does not; the furthest with its value. */
export function drawOutliers(u: uPlot, scene: Scene, points: readonly Outlier[], kind: XKind): void {
  if (points.length === 0) return;
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * scale}px "Inter Variable", sans-serif`;
  ctx.textBaseline = "middle";
  ctx.setLineDash([]);
  // The furthest is told; one that is inside the range only of a lone line, whose it then clearly is.
  let label: { readonly point: Outlier; readonly x: number; readonly y: number } | null = null;
  for (const point of points.slice(0, MOST_ARROWS)) {
    const x = u.valToPos(point.x, "x", true);
    const y = u.valToPos(point.value, "y", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    const above = y < bbox.top;
    const outside = above || y > bbox.top + bbox.height;
    if (!outside && (label !== null || scene.lines.length > 1)) continue;
    const edge = above ? bbox.top + scale : bbox.top + bbox.height - scale;
    const inwards = (above ? 6 : -6) * scale;
    ctx.fillStyle = ctx.strokeStyle = readToken("--ink-2");
    ctx.beginPath();
    if (outside) {
      ctx.moveTo(x, edge);
      ctx.lineTo(x + 4 * scale, edge + inwards);
      ctx.lineTo(x - 4 * scale, edge + inwards);
      ctx.fill();
    } else {
      ctx.lineWidth = 1.4 * scale;
      ctx.arc(x, y, 4 * scale, 0, 2 * Math.PI);
      ctx.stroke();
    }
    label ??= { point, x, y: outside ? edge + inwards : Math.max(bbox.top + 6 * scale, y) };
  }
  if (label !== null) {
    const more = points.length > 1 ? `, ${points.length - 1} more` : "";
    const text = `${formatValue(label.point.value)} at ${formatX(label.point.x, kind)}${more}`;
    const right = label.x + ctx.measureText(text).width + 12 * scale < bbox.left + bbox.width;
    ctx.textAlign = right ? "left" : "right";
    ctx.fillStyle = readToken("--ink");
    writeOver(ctx, text, label.x + (right ? 8 : -8) * scale, label.y);
  }
  ctx.restore();
}

/** A cursor that stays. */
export function drawPin(u: uPlot, at: number | null): void {
  if (at === null) return;
  const { ctx, bbox } = u;
  const x = Math.round(u.valToPos(at, "x", true));
  if (x < bbox.left || x > bbox.left + bbox.width) return;
  ctx.save();
  ctx.strokeStyle = readToken("--accent");
  ctx.lineWidth = 1.4 * devicePixelRatio;
  ctx.setLineDash([]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}

/** A dot at the end of a lone line, the series' marker at the end of each of several. */
export function drawEnds(u: uPlot, scene: Scene): void {
  for (const line of scene.lines) {
    let at = line.y.length - 1;
    while (at >= 0 && !Number.isFinite(line.y[at])) at -= 1;
    const [x, y] = [line.x[at], line.y[at]];
    if (x === undefined || y === undefined) continue;
    const px = u.valToPos(x, "x", true);
    const py = u.valToPos(y, "y", true);
    const { left, top, width, height } = u.bbox;
    if (px < left || px > left + width + 1 || py < top || py > top + height) continue;
    const style = styleOf(line.style);
    drawMarker(u.ctx, scene.lines.length > 1 ? style.marker : "circle", px, py, readToken(style.token));
  }
}

function drawMarker(
  ctx: CanvasRenderingContext2D,
  marker: Marker,
  x: number,
  y: number,
  color: string,
): void {
  const s = 3.6 * devicePixelRatio;
  const shapes: Record<Marker, readonly (readonly [number, number])[]> = {
    circle: [],
    "open-circle": [],
    square: box(s),
    "open-square": box(s),
    diamond: lozenge(s),
    "open-diamond": lozenge(s),
    "triangle-up": [
      [0, -s * 1.15],
      [s * 1.15, s],
      [-s * 1.15, s],
    ],
    "triangle-down": [
      [0, s * 1.15],
      [s * 1.15, -s],
      [-s * 1.15, -s],
    ],
    plus: [],
    cross: [],
  };
  ctx.save();
  ctx.translate(x, y);
  ctx.fillStyle = marker.startsWith("open") ? readToken("--surface") : color;
  ctx.strokeStyle = color;
  ctx.lineWidth = 1.6 * devicePixelRatio;
  ctx.beginPath();
  if (marker === "circle" || marker === "open-circle") ctx.arc(0, 0, s, 0, 2 * Math.PI);
  else if (marker === "plus" || marker === "cross") {
    if (marker === "cross") ctx.rotate(Math.PI / 4);
    ctx.moveTo(0, -s);
    ctx.lineTo(0, s);
    ctx.moveTo(-s, 0);
    ctx.lineTo(s, 0);
  } else {
    for (const [dx, dy] of shapes[marker]) ctx.lineTo(dx, dy);
    ctx.closePath();
  }
  if (marker !== "plus" && marker !== "cross") ctx.fill();
  if (marker.startsWith("open") || marker === "plus" || marker === "cross") ctx.stroke();
  ctx.restore();
}

function box(s: number): readonly (readonly [number, number])[] {
  return [
    [-s, -s],
    [s, -s],
    [s, s],
    [-s, s],
  ];
}

function lozenge(s: number): readonly (readonly [number, number])[] {
  const d = s * 1.2;
  return [
    [0, -d],
    [d, 0],
    [0, d],
    [-d, 0],
  ];
}
