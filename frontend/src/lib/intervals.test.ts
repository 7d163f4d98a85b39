import { describe, expect, it } from "vitest";
import { armDifference, holm, meanInterval, tQuantile975, tTwoSided } from "./intervals";

describe("t interval", () => {
  it.each([
    [1, 12.706],
    [4, 2.776],
    [9, 2.262],
    [30, 2.042],
  ])("the 97.5 %% quantile with %d degrees of freedom is %d", (df, quantile) => {
    expect(tQuantile975(df)).toBeCloseTo(quantile, 3);
  });

  it("p of t = 2.776 at 4 degrees of freedom is 0.05", () => {
    expect(tTwoSided(2.7764451, 4)).toBeCloseTo(0.05, 6);
  });

  it("gives mean and half-width, and no half-width for one value", () => {
    const five = meanInterval([1, 2, 3, 4, 5]);
    expect(five.mean).toBe(3);
    expect(five.halfWidth).toBeCloseTo(1.9632, 4);
    expect(meanInterval([2.4]).halfWidth).toBeNull();
  });
});

describe("differences", () => {
  const base = new Map([0, 1, 2, 3, 4].map((seed) => [seed, 2.4 + seed * 0.1]));

  it("pairs by seed", () => {
    const arm = new Map([...base].map(([seed, value]) => [seed, value - 0.05 + (seed % 2) * 0.001]));
    const found = armDifference(arm, base);
    expect(found.paired).toBe(true);
    expect(found.mean).toBeCloseTo(-0.0496, 6);
    expect(found.p ?? 1).toBeLessThan(1e-6);
  });

  it("falls back to Welch where no seeds are shared", () => {
    const arm = new Map([...base].map(([seed, value]) => [seed + 100, value]));
    const found = armDifference(arm, base);
    expect(found.paired).toBe(false);
    expect(found.p).toBeCloseTo(1, 9);
  });

  it("adjusts after Holm", () => {
    expect(holm([0.01, null, 0.04, 0.03])).toEqual([0.03, null, 0.06, 0.06]);
  });
});
