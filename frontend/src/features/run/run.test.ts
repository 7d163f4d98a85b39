import { describe, expect, it, vi } from "vitest";
import type { Attempt, Run, SeriesAnswer } from "@/api/types";
import { columnsOf } from "@/lib/columns";
import { emptyRunLive } from "@/lib/liveState";
import { segmentsOf } from "./AttemptTimeline";
import { alignedPoints, groupedKeys, RunScenes, type SceneSettings } from "./runScenes";

const settings: SceneSettings = {
  kind: "step",
  xKey: "",
  smoothing: 0,
  rawBehind: true,
  logKeys: new Set(),
  startedAt: 1000,
  marks: [{ x: 5, label: "attempt 2" }],
  zoomed: false,
};

const points = columnsOf({
  step: Float64Array.from([0, 10, 20]),
  value: Float64Array.from([3, NaN, 2]),
  time: Float64Array.from([1000, 1001, 1004]),
});

const frames: (() => void)[] = [];
vi.stubGlobal("requestAnimationFrame", (draw: () => void) => frames.push(draw));

function nextFrame(): void {
  frames.splice(0).forEach((draw) => draw());
}

function scenesWith(change: Partial<SceneSettings>): RunScenes {
  const scenes = new RunScenes({ ...settings, ...change });
  scenes.source("loss");
  scenes.setLive({ ...emptyRunLive, series: new Map([["loss", points]]) });
  nextFrame();
  return scenes;
}

describe("scenes of a run", () => {
  it("marks what is not finite and where attempts changed", () => {
    const scene = scenesWith({}).source("loss").get();
    expect(scene.nonFinite).toEqual([{ x: 10, text: "NaN" }]);
    expect(scene.marks).toHaveLength(1);
    expect(Array.from(scene.lines[0]?.x ?? [])).toEqual([0, 10, 20]);
  });

  it("turns times into time since the start", () => {
    const scene = scenesWith({ kind: "relative" }).source("loss").get();
    expect(Array.from(scene.lines[0]?.x ?? [])).toEqual([0, 1, 4]);
    expect(scene.marks).toEqual([]);
  });

  it("continues a zoomed answer with what arrived since", () => {
    const scenes = scenesWith({ zoomed: true });
    const answer: SeriesAnswer = {
      run: "r_1",
      key: "loss",
      n: 2,
      exact: true,
      per_bucket: 1,
      x: [0, 10],
      value: [3, "NaN"],
      non_finite: [{ step: 10, x: 10, value: "NaN" }],
      non_finite_n: 1,
    };
    scenes.setAnswers([answer]);
    nextFrame();
    expect(Array.from(scenes.source("loss").get().lines[0]?.x ?? [])).toEqual([0, 10, 20]);
  });

  it("groups keys by prefix, small groups together, the primary metric first", () => {
    const keys = ["eval/loss", "optim/a", "optim/b", "optim/c", "perf/x", "train/loss"];
    expect(groupedKeys(keys, "train/loss")).toEqual([
      ["Main", ["train/loss", "eval/loss", "perf/x"]],
      ["optim", ["optim/a", "optim/b", "optim/c"]],
    ]);
  });

  it("has no second main group for keys without a prefix", () => {
    const keys = ["a", "b", "c", "eval/loss"];
    expect(groupedKeys(keys, "eval/loss")).toEqual([["Main", ["eval/loss", "a", "b", "c"]]]);
  });
});

describe("the timeline of attempts", () => {
  const at = (minute: number): string => new Date(Date.UTC(2026, 10, 21, 12, minute)).toISOString();
  const attempt = (number: number, from: number, to: number | null, outcome: string): Attempt => ({
    epoch: number,
    number,
    node: "aster-01",
    resume_step: null,
    assigned_at: at(from),
    started_at: at(from + 1),
    ended_at: to === null ? null : at(to),
    outcome,
  });
  const run = {
    state: "RUNNING",
    attempt: 2,
    created_at: at(0),
    started_at: at(7),
    ended_at: null,
    progress: null,
  };

  it("shows waits, attempts and the preemption between them", () => {
    const attempts = [attempt(1, 6, 20, "preempted"), attempt(2, 30, null, "")];
    const segments = segmentsOf(run as unknown as Run, attempts, Date.parse(at(40)));
    expect(segments.map((segment) => segment.look)).toEqual([
      "wait",
      "start",
      "past",
      "preempted",
      "wait",
      "start",
      "now",
    ]);
  });
});

describe("a series over another", () => {
  it("takes the other's value at the same step or last before it, in the order of x", () => {
    expect(alignedPoints([0, 10, 20, 30], [1, 2, 3, 4], [0, 20], [5, 2])).toEqual({
      x: [2, 2, 5, 5],
      y: [3, 4, 1, 2],
    });
  });

  it("leaves out what stands before the other began, and where the other is not finite", () => {
    expect(alignedPoints([0, 10, 20], [1, 2, 3], [10, 20], [7, NaN])).toEqual({ x: [7], y: [2] });
    expect(alignedPoints([], [], [], [])).toEqual({ x: [], y: [] });
  });

  it("draws nothing until the other has points", () => {
    const scenes = scenesWith({ kind: "series", xKey: "tokens" });
    expect(scenes.source("loss").get().lines).toEqual([]);
    const tokens = columnsOf({
      step: Float64Array.from([0, 10, 20]),
      value: Float64Array.from([0, 100, 200]),
      time: Float64Array.from([1000, 1001, 1004]),
    });
    scenes.setLive({
      ...emptyRunLive,
      series: new Map([
        ["loss", points],
        ["tokens", tokens],
      ]),
    });
    nextFrame();
    expect(Array.from(scenes.source("loss").get().lines[0]?.x ?? [])).toEqual([0, 100, 200]);
  });
});
