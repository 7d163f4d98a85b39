/** Exponential moving average with bias correction: the first values are not pulled towards zero. */
export function ema(values: ArrayLike<number>, weight: number, inLogSpace = false): Float64Array {
  const out = new Float64Array(values.length);
  let sum = 0;
  let correction = 1;
  for (let at = 0; at < values.length; at += 1) {
    const raw = values[at] ?? NaN;
    const value = inLogSpace ? Math.log(raw) : raw;
    if (!Number.isFinite(value)) {
      out[at] = NaN;
      continue;
    }
    sum = weight * sum + (1 - weight) * value;
    correction *= weight;
    const smooth = sum / (1 - correction);
    out[at] = inLogSpace ? Math.exp(smooth) : smooth;
  }
  return out;
}

/** Whether values only rise or only fall, as a counter or a clock: there is no noise, and an average would only lag. */
export function isMonotone(values: ArrayLike<number>): boolean {
  let [rises, falls, last] = [false, false, NaN];
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at] ?? NaN;
    if (!Number.isFinite(value)) continue;
    rises ||= value > last;
    falls ||= value < last;
    if (rises && falls) return false;
    last = value;
  }
  return true;
}
