/**
 * Append-only columns of points, outside React. Values that share a backing store behave as immutable: an append
 * writes in place only when nobody has appended to this length before, and copies otherwise.
 */

interface Backing {
  step: Float64Array;
  value: Float64Array;
  time: Float64Array;
  used: number;
}

export interface Columns {
  readonly backing: Backing;
  readonly length: number;
}

export interface Points {
  readonly step: Float64Array;
  readonly value: Float64Array;
  readonly time: Float64Array;
}

/** Above this many points the older half is thinned, keeping minima and maxima. */
export const MAX_LIVE_POINTS = 131_072;

function allocate(capacity: number): Backing {
  return {
    step: new Float64Array(capacity),
    value: new Float64Array(capacity),
    time: new Float64Array(capacity),
    used: 0,
  };
}

export const emptyColumns: Columns = { backing: allocate(0), length: 0 };

export function columnsOf(points: Points): Columns {
  return { backing: { ...points, used: points.step.length }, length: points.step.length };
}

export function viewOf(columns: Columns): Points {
  const { backing, length } = columns;
  return {
    step: backing.step.subarray(0, length),
    value: backing.value.subarray(0, length),
    time: backing.time.subarray(0, length),
  };
}

export function appendPoints(columns: Columns, points: Points): Columns {
  const added = points.step.length;
  if (added === 0) return columns;
  const length = columns.length + added;
  let { backing } = columns;
  if (backing.used !== columns.length || backing.step.length < length) {
    const grown = allocate(Math.max(256, length * 2));
    const old = viewOf(columns);
    grown.step.set(old.step);
    grown.value.set(old.value);
    grown.time.set(old.time);
    backing = grown;
  }
  backing.step.set(points.step, columns.length);
  backing.value.set(points.value, columns.length);
  backing.time.set(points.time, columns.length);
  backing.used = length;
  const next = { backing, length };
  return length > MAX_LIVE_POINTS ? thinOlderHalf(next) : next;
}

/** Keeps first, minimum, maximum and last of every eight points in the older half. */
function thinOlderHalf(columns: Columns): Columns {
  const { step, value, time } = viewOf(columns);
  const half = Math.floor(columns.length / 2);
  const kept: number[] = [];
  for (let from = 0; from < half; from += 8) {
    const to = Math.min(half, from + 8);
    let low = from;
    let high = from;
    for (let at = from; at < to; at += 1) {
      if ((value[at] ?? NaN) < (value[low] ?? NaN)) low = at;
      if ((value[at] ?? NaN) > (value[high] ?? NaN)) high = at;
    }
    kept.push(...[...new Set([from, low, high, to - 1])].sort((a, b) => a - b));
  }
  for (let at = half; at < columns.length; at += 1) kept.push(at);
  const pick = (source: Float64Array): Float64Array => Float64Array.from(kept, (at) => source[at] ?? NaN);
  return columnsOf({ step: pick(step), value: pick(value), time: pick(time) });
}
