import { describe, expect, it } from "vitest";
import type { Run, RunGroup } from "@/api/types";
import { nextSort, rowsOf, runsIn, sortGroups } from "./rows";

const run = (id: string, state = "RUNNING"): Run => ({ id, state, metrics: {} }) as unknown as Run;
const group = (hash: string, runs: string[], mean?: number): RunGroup => ({
  spec_hash: hash,
  recipe: "r",
  label: hash,
  n: runs.length,
  states: { QUEUED: runs.length },
  metrics: mean === undefined ? {} : { loss: { mean, half_width: null, n: 1 } },
  runs,
});

describe("rows of the runs table", () => {
  const items = [run("a"), run("b"), run("c"), run("late")];
  const groups = [group("one", ["a", "b"]), group("two", ["c"])];

  it("opens groups on demand, shows a group of one as its run, and loses no run", () => {
    expect(rowsOf(items, groups, new Set()).map((row) => row.id)).toEqual(["g:one:a", "c", "late"]);
    expect(rowsOf(items, groups, new Set(["one"])).map((row) => row.id)).toEqual([
      "g:one:a",
      "a",
      "b",
      "c",
      "late",
    ]);
    expect(rowsOf(items, null, new Set()).map((row) => row.id)).toEqual(["a", "b", "c", "late"]);
  });

  it("counts the states of members that are known, so that live changes show", () => {
    const [first] = rowsOf(items, groups, new Set());
    expect(first?.kind === "group" && first.states).toEqual({ RUNNING: 2 });
    expect(first === undefined ? [] : runsIn(first).map((one) => one.id)).toEqual(["a", "b"]);
  });

  it("sorts groups by mean, those without one last", () => {
    const some = [group("x", ["a"], 2), group("y", ["b"]), group("z", ["c"], 1)];
    expect(sortGroups(some, "metric:loss").map((one) => one.label)).toEqual(["z", "x", "y"]);
    expect(sortGroups(some, "-metric:loss").map((one) => one.label)).toEqual(["x", "z", "y"]);
  });

  it("turns a click on a header round", () => {
    expect([nextSort("", "name"), nextSort("name", "name"), nextSort("-name", "name")]).toEqual([
      "name",
      "-name",
      "",
    ]);
  });
});
