import { describe as group, expect, it } from "vitest";
import type { ArtifactLook } from "@/api/artifacts";
import { cellText, describe } from "./ArtifactPreview";

const base = { media_type: "x", path: "a", sha256: "0", size_bytes: 2048 };
const look = (more: Partial<ArtifactLook> & Pick<ArtifactLook, "kind">): ArtifactLook => ({
  ...base,
  ...more,
});

group("what a preview says of a file", () => {
  it("names an image's size and a sound's length", () => {
    expect(describe(look({ kind: "image", width: 28, height: 14 }))).toMatch(/^28 × 14 pixels, /);
    expect(describe(look({ kind: "audio", seconds: 2.5, sample_rate: 16000, channels: 1 }))).toBe(
      "2.5 s, 16,000 Hz, 1 channel",
    );
  });

  it("says how much of a table there is", () => {
    expect(describe(look({ kind: "table", rows: [[1]], truncated: false }))).toBe("1 row");
    expect(describe(look({ kind: "table", rows: [[1], [2]], truncated: true }))).toBe("the first 2 rows");
    expect(describe(look({ kind: "table", rows: [[1]], truncated: true, rows_total: 5000 }))).toBe(
      "1 of 5,000 rows",
    );
  });

  it("shows every cell as text", () => {
    expect(["", null, 0, false, "NaN", { a: 1 }].map(cellText)).toEqual([
      "–",
      "–",
      "0",
      "false",
      "NaN",
      '{"a":1}',
    ]);
  });
});
