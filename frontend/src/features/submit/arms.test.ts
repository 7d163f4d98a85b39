import { describe, expect, it } from "vitest";
import { armErrors, armSpec, changesText, crossed, draftArms, variedArms } from "./arms";

describe("arms", () => {
  it("reads back what it wrote, whatever the values", () => {
    const spec = {
      optimizer: { kind: "sonew", lr: 0.01, band: 4, nested: { name: "4" } },
      hidden: [128, 64],
      target: null,
      on: true,
    };
    const [arm] = draftArms([{ name: "a", spec }]);
    expect(arm?.changes).toContain('optimizer.nested.name = "4"');
    expect(arm?.changes).toContain("optimizer.kind = sonew");
    expect(arm === undefined ? null : armSpec(arm)).toEqual(spec);
  });

  it("names what is wrong at the arm", () => {
    const errors = armErrors([
      { name: "a", changes: "lr = 1" },
      { name: "a", changes: "" },
      { name: " ", changes: "" },
      { name: "b", changes: "steps: 4" },
      { name: "c", changes: "steps =" },
    ]);
    expect([...errors.keys()]).toEqual(["arms.1", "arms.2", "arms.3", "arms.4"]);
  });

  it("makes an arm of each value, commas in lists left alone", () => {
    expect(variedArms("workload.hidden", "[8, 4], [16], ")).toEqual([
      { name: "hidden [8, 4]", changes: "workload.hidden = [8,4]" },
      { name: "hidden [16]", changes: "workload.hidden = [16]" },
    ]);
  });

  it("crosses what is varied with the arms there are", () => {
    const arms = crossed(variedArms("optimizer.lr", "0.1, 0.01"), variedArms("steps", "10, 20"));
    expect(arms.map((arm) => arm.name)).toEqual([
      "lr 0.1, steps 10",
      "lr 0.1, steps 20",
      "lr 0.01, steps 10",
      "lr 0.01, steps 20",
    ]);
    expect(arms.map(armSpec)).toContainEqual({ optimizer: { lr: 0.01 }, steps: 20 });
  });

  it("writes nothing for an arm that changes nothing", () => {
    expect(changesText({})).toBe("");
  });
});
