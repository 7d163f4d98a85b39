import { describe, expect, it } from "vitest";
import { runOfMlflowLink } from "./useMlflowLink";

describe("links that MLflow's client prints", () => {
  it("name a run", () => {
    expect(runOfMlflowLink("#/experiments/179580300871875515/runs/r_AREETTB2HP")).toBe("r_AREETTB2HP");
    expect(runOfMlflowLink("#/experiments/0/runs/r_AREETTB2HP/artifacts")).toBe("r_AREETTB2HP");
  });

  it("are nothing else", () => {
    for (const hash of ["", "#/experiments/0", "#/experiments/0/runs/../x", "#/models/x"]) {
      expect(runOfMlflowLink(hash)).toBeNull();
    }
  });
});
