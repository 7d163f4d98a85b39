import { describe, expect, it } from "vitest";
import type { Recipe, RecipeMetric, Run } from "@/api/types";
import { metricChoices, paramChoices } from "./choices";

const metric = (key: string, primary = false): RecipeMetric => ({
  key,
  unit: "",
  goal: null,
  help: "",
  primary,
});
const recipe = (name: string, ...metrics: RecipeMetric[]): Recipe => ({ name, metrics }) as unknown as Recipe;
const run = (spec: Run["spec"]): Run => ({ spec }) as Run;

describe("columns that a project can have", () => {
  const recipes = [
    recipe("one", metric("train/loss"), metric("eval/nll", true)),
    recipe("two", metric("eval/x", true)),
  ];

  it("are what was logged: primary metrics, then the recipe's, then a script's own, telling ones first", () => {
    const logged = ["a/b", "eval/nll", "eval/own", "system/cpu", "train/loss"];
    const keys = metricChoices(recipes, new Map([["one", 3]]), logged).map((one) => one.key);
    expect(keys).toEqual(["eval/nll", "train/loss", "eval/own", "a/b"]);
  });

  it("are the metrics of all recipes while nothing was logged", () => {
    expect(metricChoices(recipes, new Map(), []).map((one) => one.key)).toEqual([
      "eval/nll",
      "eval/x",
      "train/loss",
    ]);
  });

  it("are settings in which runs differ, also where one has none", () => {
    const runs = [
      run({ lr: 1, seed: 0, optimizer: { kind: "adam" } }),
      run({ lr: 2, seed: 0, optimizer: { kind: "adam" } }),
    ];
    expect(paramChoices(runs)).toEqual(["lr"]);
    expect(paramChoices([...runs, run({ seed: 0, optimizer: { kind: "adam", beta: 1 } })])).toEqual([
      "lr",
      "optimizer.beta",
    ]);
    expect(paramChoices([])).toEqual([]);
  });
});
