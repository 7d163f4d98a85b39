/**
 * Which points to draw: first, minimum, maximum and last of every pixel column, so that no spike is lost.
 * Points that are not finite are kept as one gap a column.
 */
export function m4(x: ArrayLike<number>, y: ArrayLike<number>, columns: number): Uint32Array | null {
  const n = x.length;
  if (n <= columns * 4 || columns < 1) return null;
  const from = x[0] ?? 0;
  const width = ((x[n - 1] ?? 0) - from) / columns;
  if (!(width > 0)) return null;
  const kept: number[] = [];
  let start = 0;
  while (start < n) {
    const column = Math.min(columns - 1, Math.floor(((x[start] ?? 0) - from) / width));
    let end = start;
    let low = -1;
    let high = -1;
    let gap = -1;
    while (end < n && Math.min(columns - 1, Math.floor(((x[end] ?? 0) - from) / width)) === column) {
      const value = y[end] ?? NaN;
      if (!Number.isFinite(value)) gap = end;
      else {
        if (low < 0 || value < (y[low] ?? 0)) low = end;
        if (high < 0 || value > (y[high] ?? 0)) high = end;
      }
      end += 1;
    }
    const chosen = [start, low, high, gap, end - 1].filter((at) => at >= 0).sort((a, b) => a - b);
    chosen.forEach((at, place) => {
      if (at !== chosen[place - 1]) kept.push(at);
    });
    start = end;
  }
  return Uint32Array.from(kept);
}
