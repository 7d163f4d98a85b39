import { describe, expect, it } from "vitest";
import { m4 } from "./m4";
import { padded, resolved } from "./plotOptions";
import { outliersOf } from "./outliers";
import { sharedStart } from "./LineEnds";
import { readingAt } from "./Plot";
import { emptyScene, SceneSource, withoutLines, type Scene, type SceneLine } from "./scene";
import { csvOf, rowsOf, sentenceOf } from "./sentences";
import { ema, isMonotone } from "./smoothing";
import { svgOf } from "./svg";

describe("ema", () => {
  it("keeps a constant constant from the first point on", () => {
    expect([...ema([3, 3, 3], 0.9)].map((value) => value.toFixed(9))).toEqual([
      "3.000000000",
      "3.000000000",
      "3.000000000",
    ]);
  });

  it("is the weighted mean by hand", () => {
    expect(ema([1, 2], 0.5)[1]).toBeCloseTo((0.25 * 1 + 0.5 * 2) / 0.75, 12);
  });

  it("steps over what is not finite and leaves it a gap", () => {
    expect([...ema([1, NaN, 1], 0.9)].map(Number.isFinite)).toEqual([true, false, true]);
  });

  it("works in log space", () => {
    expect(ema([1, 100], 0.5, true)[1]).toBeCloseTo(Math.exp((0.5 * Math.log(100)) / 0.75), 9);
  });
});

describe("isMonotone", () => {
  it("knows counters from noise, whatever is not finite", () => {
    expect([[], [1], [1, 1, 2, NaN, 3], [3, 2, 2]].map((values) => isMonotone(values))).toEqual(
      Array(4).fill(true),
    );
    expect(isMonotone([1, 3, NaN, 2])).toBe(false);
  });
});

describe("m4", () => {
  const n = 100_000;
  const x = Float64Array.from({ length: n }, (_, at) => at);
  const y = Float64Array.from({ length: n }, (_, at) => Math.sin(at / 500));
  y[70_003] = 40;
  y[20_001] = -40;
  y[50_000] = NaN;

  it("keeps extremes, both ends and the gap within five points a column", () => {
    const kept = m4(x, y, 300);
    const at = [...(kept ?? [])];
    expect(at.length).toBeLessThanOrEqual(300 * 5);
    expect([0, 20_001, 50_000, 70_003, n - 1].filter((index) => !at.includes(index))).toEqual([]);
    expect(at.every((index, place) => place === 0 || index > (at[place - 1] ?? 0))).toBe(true);
  });

  it("says null where every point fits", () => {
    expect(m4([1, 2, 3], [1, 2, 3], 300)).toBeNull();
  });
});

describe("a scene in words", () => {
  const scene: Scene = {
    ...emptyScene,
    lines: [{ label: "eval/nll", style: 0, x: [0, 10, 20], y: [5.6, 2.5, 2.437], raw: null, band: null }],
  };

  it("says where it went", () => {
    expect(sentenceOf("eval/nll", scene, "step")).toBe(
      "eval/nll fell from 5.600 to 2.437 between step 0 and step 20, lowest at the end.",
    );
    expect(sentenceOf("eval/nll", emptyScene, "step")).toBe("eval/nll has no points yet.");
  });

  it("becomes rows and CSV, with names that are no formulas", () => {
    expect(rowsOf(scene, 2).map((row) => row.x)).toEqual([0, 20]);
    const named = { ...scene, lines: scene.lines.map((line) => ({ ...line, label: "=cmd, x" })) };
    expect(csvOf(named, "step").split("\n").slice(0, 2)).toEqual([`step,"'=cmd, x"`, "0,5.6"]);
  });
});

describe("ranges of an axis", () => {
  const steps = ([low, high]: readonly (number | null)[]): boolean => {
    const from = Number(low);
    return from + (Number(high) - from) / 100 > from;
  };

  it("hold steps that differ, also around the smoothed line of a constant", () => {
    for (const constant of [0.34109945259427954, 0.040063254866686396, -7.1e-12, 3.3e30]) {
      const line = ema(
        Array.from({ length: 16 }, () => constant),
        0.9,
      );
      expect(steps(padded(Math.min(...line), Math.max(...line), false))).toBe(true);
    }
  });

  it("are widened where a zoom went below what numbers can tell apart", () => {
    expect(steps(resolved(1_795_808_309.7757, 1_795_808_309.7757))).toBe(true);
    expect(steps(resolved(0.5, 0.5 + 1e-16))).toBe(true);
    expect(resolved(2, 3)).toEqual([2, 3]);
  });

  it("keep a small but real difference", () => {
    const [low, high] = padded(1, 1.00001, false);
    expect(Number(high) - Number(low)).toBeLessThan(2e-5);
  });
});

function lineOf(label: string, y: readonly number[], style = 0): SceneLine {
  return { label, style, x: y.map((_, at) => at), y, raw: null, band: null };
}

describe("spikes", () => {
  const calm = Array.from({ length: 400 }, (_, at) => 2 + Math.sin(at) / 10);
  const spiked = calm.map((value, at) => (at === 250 ? 90 : at === 300 ? -40 : value));

  it("stand out with value and place, the furthest first, and leave the range of the rest", () => {
    const found = outliersOf({ ...emptyScene, lines: [lineOf("loss", spiked)] });
    expect(found.points).toEqual([
      { x: 250, value: 90, side: "above" },
      { x: 300, value: -40, side: "below" },
    ]);
    expect(found.range?.map((value) => value.toFixed(1))).toEqual(["1.9", "2.1"]);
  });

  it("are looked for in the part that is shown", () => {
    const scene = { ...emptyScene, lines: [lineOf("loss", spiked)] };
    expect(outliersOf(scene, 0, 200)).toEqual({ range: null, points: [] });
    expect(outliersOf(scene, 0, 260).points).toHaveLength(1);
  });

  it("are none in a curve that falls, in a constant, in a step, or in few points", () => {
    const falling = Array.from({ length: 1000 }, (_, at) => 2 + 40 * Math.exp(-at / 200));
    const step = calm.map((_, at) => (at < 350 ? 1 : 100));
    for (const y of [falling, calm.map(() => 3), step, [1, 1, 1, 900]])
      expect(outliersOf({ ...emptyScene, lines: [lineOf("loss", y)] }).points).toEqual([]);
  });
});

describe("lines", () => {
  const scene = { ...emptyScene, lines: [lineOf("a", [1, 2, 3]), lineOf("b", [4, NaN, 6], 1)] };

  it("are hidden by label, and the scene is filtered once", () => {
    const source = new SceneSource();
    source.set(scene);
    const shown = withoutLines(source, new Set(["a"]));
    expect(shown.get().lines.map((line) => line.label)).toEqual(["b"]);
    expect(shown.get()).toBe(shown.get());
    expect(withoutLines(source, new Set())).toBe(source);
  });

  it("are read at a pinned place, or last before it", () => {
    expect(readingAt(scene, 1.5)).toEqual({ x: 1.5, values: [2, null] });
    expect(readingAt(scene, -1).values).toEqual([null, null]);
  });

  it("become an SVG with a path each, gaps, escaped names and readable ticks", () => {
    const named = { ...scene, lines: [lineOf("a<b>", [1, 2, 3]), lineOf("gap", [4, NaN, 6], 1)] };
    const svg = svgOf(named, {
      width: 400,
      height: 200,
      x: [0, 2],
      y: [0, 6],
      kind: "step",
      log: false,
      caption: "loss & more",
      color: (token) => token,
    });
    expect(svg).toContain("<title>loss &amp; more</title>");
    expect(svg).toContain("a&lt;b&gt;");
    expect(svg).not.toContain("NaN");
    expect(svg.match(/stroke-width="1.8"[^>]*\/>/g)).toHaveLength(4);
    // The gap is two strokes of the pen.
    expect(svg.match(/d="(M[^"]*)" stroke="--series-2"/)?.[1]?.match(/M/g)).toHaveLength(2);
    expect([...svg.matchAll(/>([0-9.]+)<\/text>/g)].map((found) => found[1])).toEqual(
      expect.arrayContaining(["0", "2", "4", "6"]),
    );
  });
});

describe("names in a legend", () => {
  it("lose a long beginning that all share, at a word", () => {
    expect(sharedStart(["sweep lr 5.1e-3", "sweep lr 5.2e-4"])).toBe("sweep lr ".length);
    expect(sharedStart(["Adam", "Adam W"])).toBe(0);
    expect(sharedStart(["one alone and long"])).toBe(0);
    expect(sharedStart([])).toBe(0);
  });
});
