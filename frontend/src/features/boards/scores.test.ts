import { describe, expect, it } from "vitest";
import { sentence, stepPath } from "./ProfileChart";

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

describe("the sentence under the profile", () => {
  const method = (name: string, score: number) => ({ method: name, score, speedup: null, profile: [] });

  it("names the best and the next", () => {
    const methods = [method("sonew", 0.75), method("adam", 0.5)];
    expect(sentence({ r_max: 4, methods, workloads: [] })).toBe(
      "sonew scores 0.750, before adam with 0.500.",
    );
  });

  it("names no winner where nobody arrived", () => {
    const methods = [method("sonew", 0), method("adam", 0)];
    expect(sentence({ r_max: 4, methods, workloads: [] })).toMatch(/^No method reached/);
  });
});
