/** Intervals over seeds: 95 % t interval, paired differences, p after Holm. Pure functions. */

function logGamma(x: number): number {
  const c = [
    76.18009172947, -86.50532032942, 24.01409824083, -1.23173957245, 0.00120865097387, -0.00000539523938,
  ];
  const t = x + 5.5 - (x + 0.5) * Math.log(x + 5.5);
  let sum = 1 + 1.90015e-10;
  c.forEach((value, at) => (sum += value / (x + at + 1)));
  return -t + Math.log((Math.sqrt(2 * Math.PI) * sum) / x);
}

/** Continued fraction of the incomplete beta function (Lentz). */
function betaFraction(a: number, b: number, x: number): number {
  const tiny = 1e-300;
  let c = 1;
  let d = 1 - ((a + b) * x) / (a + 1);
  d = 1 / (Math.abs(d) < tiny ? tiny : d);
  let h = d;
  for (let m = 1; m <= 300; m += 1) {
    for (const term of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      d = 1 + term * d;
      d = 1 / (Math.abs(d) < tiny ? tiny : d);
      c = 1 + term / c;
      if (Math.abs(c) < tiny) c = tiny;
      h *= d * c;
    }
    if (Math.abs(d * c - 1) < 1e-14) break;
  }
  return h;
}

function betaRegularised(a: number, b: number, x: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(1 - x));
  return x < (a + 1) / (a + b + 2)
    ? (front * betaFraction(a, b, x)) / a
    : 1 - (front * betaFraction(b, a, 1 - x)) / b;
}

/** Two-sided p of Student's t. */
export function tTwoSided(t: number, df: number): number {
  return betaRegularised(df / 2, 0.5, df / (df + t * t));
}

/** The 97.5 % quantile of Student's t. */
export function tQuantile975(df: number): number {
  if (df < 1) return NaN;
  let low = 0;
  let high = 700;
  for (let step = 0; step < 100; step += 1) {
    const middle = (low + high) / 2;
    if (tTwoSided(middle, df) > 0.05) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

export interface MeanInterval {
  readonly mean: number;
  readonly halfWidth: number | null;
  readonly n: number;
}

/** 95 % t interval with n - 1 degrees of freedom; n = 1 has no interval. */
export function meanInterval(values: readonly number[]): MeanInterval {
  const finite = values.filter(Number.isFinite);
  const n = finite.length;
  if (n === 0) return { mean: NaN, halfWidth: null, n: 0 };
  const mean = finite.reduce((sum, value) => sum + value, 0) / n;
  if (n === 1) return { mean, halfWidth: null, n };
  const variance = finite.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  return { mean, halfWidth: tQuantile975(n - 1) * Math.sqrt(variance / n), n };
}

export interface Difference extends MeanInterval {
  readonly p: number | null;
  readonly paired: boolean;
}

/** The difference of two arms; paired by seed when at least two seeds are shared, else Welch. */
export function armDifference(
  arm: ReadonlyMap<number, number>,
  base: ReadonlyMap<number, number>,
): Difference {
  const shared = [...arm].flatMap(([seed, value]) => {
    const other = base.get(seed);
    return other !== undefined && Number.isFinite(value - other) ? [value - other] : [];
  });
  if (shared.length >= 2) {
    const interval = meanInterval(shared);
    const half = interval.halfWidth ?? 0;
    const scale = half / tQuantile975(shared.length - 1);
    const p =
      scale > 0 ? tTwoSided(interval.mean / scale, shared.length - 1) : interval.mean === 0 ? 1 : null;
    return { ...interval, p, paired: true };
  }
  return welch([...arm.values()].filter(Number.isFinite), [...base.values()].filter(Number.isFinite));
}

function welch(a: readonly number[], b: readonly number[]): Difference {
  const [left, right] = [moments(a), moments(b)];
  const mean = left.mean - right.mean;
  const n = Math.min(a.length, b.length);
  const squared = left.perN + right.perN;
  if (n < 2 || squared === 0) return { mean, halfWidth: null, n, p: null, paired: false };
  const df = squared ** 2 / (left.perN ** 2 / (a.length - 1) + right.perN ** 2 / (b.length - 1));
  const error = Math.sqrt(squared);
  return { mean, halfWidth: tQuantile975(df) * error, n, p: tTwoSided(mean / error, df), paired: false };
}

function moments(values: readonly number[]): { mean: number; perN: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance =
    values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length - 1);
  return { mean, perN: variance / values.length };
}

/** Holm's step-down adjustment; null entries stay null. */
export function holm(ps: readonly (number | null)[]): (number | null)[] {
  const order = ps.flatMap((p, at) => (p === null ? [] : [{ p, at }])).sort((a, b) => a.p - b.p);
  const adjusted: (number | null)[] = ps.map(() => null);
  let floor = 0;
  order.forEach(({ p, at }, rank) => {
    floor = Math.max(floor, Math.min(1, p * (order.length - rank)));
    adjusted[at] = floor;
  });
  return adjusted;
}

export function formatP(p: number | null): string {
  if (p === null) return "–";
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}
