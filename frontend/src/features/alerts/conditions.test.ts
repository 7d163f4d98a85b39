import { describe, expect, it } from "vitest";
import { conditionOf, conditionText, emptyDraft } from "./conditions";

describe("conditions of alert rules", () => {
  it("sends only the fields of its kind", () => {
    expect(conditionOf(emptyDraft)).toEqual({ kind: "state", states: ["FAILED", "LOST"] });
    expect(conditionOf({ ...emptyDraft, kind: "silence", minutes: "30" })).toEqual({
      kind: "silence",
      minutes: 30,
    });
    expect(conditionOf({ ...emptyDraft, kind: "divergence" })).toEqual({ kind: "divergence", key: null });
    expect(conditionOf({ ...emptyDraft, kind: "metric", key: " loss ", threshold: "2.5" })).toMatchObject({
      key: "loss",
      op: "gt",
      threshold: 2.5,
    });
  });

  it("leaves an empty threshold for the server to refuse, not 0", () => {
    expect(conditionOf({ ...emptyDraft, kind: "metric", key: "loss" })).toMatchObject({
      threshold: Number.NaN,
    });
  });

  it("reads as half a sentence", () => {
    expect(conditionText({ kind: "state", states: ["FAILED", "LOST"] })).toBe("a run becomes failed or lost");
    expect(
      conditionText({ kind: "metric", key: "loss", op: "gt", threshold: 2, reduce: "last", window: 1 }),
    ).toBe("loss > 2");
    expect(
      conditionText({ kind: "metric", key: "acc", op: "lt", threshold: 0.5, reduce: "mean", window: 20 }),
    ).toBe("mean of the last 20 points of acc < 0.5");
    expect(conditionText({ kind: "silence", minutes: 1 })).toBe("a running run sends nothing for 1 minute");
    expect(conditionText({ kind: "divergence", key: null })).toBe("any metric becomes NaN or infinite");
  });
});
