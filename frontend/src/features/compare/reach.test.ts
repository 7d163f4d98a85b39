import { describe, expect, it } from "vitest";
import type { Run, SeriesResult } from "@/api/types";
import { armsOf } from "./arms";
import { firstReached, reaches } from "./reach";

const run = (hash: string, seed: number, state = "SUCCEEDED"): Run =>
  ({
    id: `${hash}${seed}`,
    spec_hash: hash,
    seed,
    arm: hash,
    name: hash,
    state,
    spec: {},
    metrics: {},
  }) as unknown as Run;

const result = (curves: Record<string, (number | string)[]>): SeriesResult =>
  ({
    series: Object.entries(curves).map(([id, value]) => ({
      run: id,
      key: "loss",
      x: value.map((_, at) => 10 * (at + 1)),
      value,
    })),
    groups: [],
  }) as unknown as SeriesResult;

const settings = { key: "loss", goal: "min", baseline: "base" } as const;

describe("the way to the baseline's final value", () => {
  it("lies on the line between two points", () => {
    const points = [
      { x: 10, y: 4 },
      { x: 20, y: 2 },
      { x: 30, y: 1 },
    ];
    expect(firstReached(points, 3, "min")).toBe(15);
    expect(firstReached(points, 0.5, "min")).toBe(Infinity);
    expect(firstReached(points, 9, "min")).toBe(10);
    expect(
      firstReached(
        points.map(({ x, y }) => ({ x, y: -y })),
        -3,
        "max",
      ),
    ).toBe(15);
  });

  it("is a ratio by seed, with an interval where every seed arrives", () => {
    const arms = armsOf([
      run("base", 0),
      run("base", 1),
      run("fast", 0),
      run("fast", 1),
      run("slow", 0),
      run("slow", 1),
    ]);
    const rows = reaches(
      arms,
      result({
        base0: [4, 3, 2],
        base1: [4, 3, 1],
        fast0: [3, 2, 1],
        fast1: [2, 1, 1],
        slow0: [4, 4, "NaN"],
        slow1: [4, 1, 1],
      }),
      settings,
    );
    expect(rows.map((row) => row.arm.label)).toEqual(["fast", "slow"]);
    expect(rows[0]?.ratios).toEqual([20 / 30, 20 / 30]);
    expect(rows[0]?.interval).toMatchObject({ mean: 20 / 30, n: 2 });
    expect(rows[1]?.ratios).toEqual([Infinity, 20 / 30]);
    expect(rows[1]?.interval.n).toBe(0);
  });

  it("is not told of runs in progress, of other seeds, or where no direction is better", () => {
    const arms = armsOf([run("base", 0), run("other", 1), run("going", 0, "RUNNING")]);
    const curves = result({ base0: [2, 1], other1: [2, 1], going0: [1, 1] });
    expect(reaches(arms, curves, settings)).toEqual([]);
    const two = armsOf([run("base", 0), run("fast", 0)]);
    expect(reaches(two, result({ base0: [2, 1], fast0: [1, 1] }), { ...settings, goal: null })).toEqual([]);
  });
});
