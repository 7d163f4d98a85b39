/** What is drawn on the canvas beside lines and axes: attempt marks, crosses for what is not finite, end markers. */

import type uPlot from "uplot";
import { readToken, styleOf, type Marker } from "@/tokens/series";
import type { Scene } from "./scene";

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
  ctx.fillText(`${scene.nonFiniteCount} ${word ?? ""}`, last + (left ? -8 : 8) * scale, y);
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
