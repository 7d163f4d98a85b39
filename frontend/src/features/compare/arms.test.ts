import { describe, expect, it } from "vitest";
import type { Run } from "@/api/types";
import { armsOf, configDiff, finals } from "./arms";

function run(hash: string, seed: number, last: number | string, lr: number): Run {
  return {
    id: `r_${hash}${seed}`,
    spec_hash: hash,
    seed,
    arm: "",
    name: `arm ${hash}, seed ${seed}`,
    state: "SUCCEEDED",
    spec: { optimizer: { lr, kind: "adam" } },
    metrics: { loss: { last, min: last, max: last, last_step: 480, n: 9 } },
  } as unknown as Run;
}

const runs = [
  run("a", 0, 1.0, 0.1),
  run("a", 1, 1.2, 0.1),
  run("b", 0, 0.9, 0.2),
  run("b", 1, 1.11, 0.2),
  run("c", 0, "NaN", 0.3),
];
const arms = armsOf(runs);

describe("arms", () => {
  it("gathers runs that differ by seed alone, in the given order", () => {
    expect(arms.map((arm) => [arm.label, arm.runs.length, arm.style])).toEqual([
      ["arm a", 2, 0],
      ["arm b", 2, 1],
      ["arm c", 1, 2],
    ]);
  });

  it("pairs differences by seed and adjusts p", () => {
    const rows = finals(arms, "loss", "a");
    expect(rows[0]?.difference).toBeNull();
    expect(rows[1]?.difference?.mean).toBeCloseTo(-0.095, 9);
    expect(rows[1]?.difference?.paired).toBe(true);
  });

  it("keeps NaN out of means and in sight", () => {
    const row = finals(arms, "loss", "a")[2];
    expect(row?.interval.n).toBe(0);
    expect(row?.values).toEqual([NaN]);
  });

  it("lists only what differs", () => {
    expect(configDiff(arms)).toEqual([{ path: "optimizer.lr", values: [0.1, 0.2, 0.3] }]);
  });
});
