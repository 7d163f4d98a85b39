import { describe, expect, it } from "vitest";
import { stepPath } from "./ProfileChart";

describe("the profile's path", () => {
  const same = (value: number): number => value;

  it("goes level to a corner and then up", () => {
    const corners = [
      { tau: 1, share: 0.5 },
      { tau: 2, share: 1 },
      { tau: 4, share: 1 },
    ];
    expect(stepPath(corners, same, same)).toBe("M1 0.5H2V1H4V1");
  });

  it("is nothing for no corners", () => {
    expect(stepPath([], same, same)).toBe("");
  });
});
