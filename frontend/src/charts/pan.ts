/** Shift drag moves the x range of all charts that share it: redrawn once a frame, told when the button is let go. */

import uPlot from "uplot";
import type { Range } from "./plotOptions";
import { drawSoon } from "./scene";

const panned = new Map<string, Range>();

/** The range while it is being dragged. */
export function pannedRange(syncKey: string): Range | null {
  return panned.get(syncKey) ?? null;
}

/** The range that was told has arrived. */
export function panEnds(syncKey: string): void {
  panned.delete(syncKey);
}

function onScreen(u: uPlot): boolean {
  const { top, bottom } = u.root.getBoundingClientRect();
  return bottom > 0 && top < window.innerHeight;
}

export function pan(u: uPlot, syncKey: string, began: MouseEvent, tell: (range: Range) => void): void {
  const { min, max } = u.scales["x"] ?? {};
  if (typeof min !== "number" || typeof max !== "number") return;
  const perPixel = (max - min) / Math.max(1, u.over.clientWidth);
  const plots = uPlot.sync(syncKey).plots.filter(onScreen);
  const redraw = (): void => {
    const range = panned.get(syncKey);
    if (range !== undefined) plots.forEach((plot) => plot.setScale("x", { min: range[0], max: range[1] }));
  };
  const move = (event: MouseEvent): void => {
    const by = (began.clientX - event.clientX) * perPixel;
    panned.set(syncKey, [min + by, max + by]);
    drawSoon(redraw);
  };
  const end = (): void => {
    document.removeEventListener("mousemove", move);
    document.removeEventListener("mouseup", end);
    const range = panned.get(syncKey);
    if (range !== undefined) tell(range);
  };
  document.addEventListener("mousemove", move);
  document.addEventListener("mouseup", end);
}
