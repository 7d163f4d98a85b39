import { describe, expect, it } from "vitest";
import { batchesOf, newColumns } from "./push";
import { readEvents } from "./readEvents";
import { readTable } from "./readTable";
import { addPoint, newRun, pointsOf, type SourceRun } from "./source";

const table = (text: string, path = "logs/run.csv"): SourceRun[] => readTable({ path, text, writtenAt: 5 });
const plainOf = (run: SourceRun | undefined) => Object.fromEntries(run?.columns ?? []);

describe("tables", () => {
  it("have a row a step and a column a metric; text and empty cells are no values", () => {
    const [run] = table('step;loss;note;"eval, ""best"""\r\n0;1.5;warm;\r\n10;nan;;3\r\n');
    expect(run?.name).toBe("run");
    expect(plainOf(run)).toEqual({
      loss: { step: [0, 10], value: [1.5, NaN], time: [5, 5] },
      'eval, "best"': { step: [10], value: [3], time: [5] },
    });
  });

  it("tell runs apart by a column, count rows without steps, and read times of three kinds", () => {
    const text = "run,loss,time\na,1,2026-11-21T12:00:00Z\nb,2,1700000000000\na,3,1700000000\n";
    const runs = table(text);
    expect(runs.map((run) => [run.id, run.name])).toEqual([
      ["logs/run.csv#a", "a"],
      ["logs/run.csv#b", "b"],
    ]);
    expect(runs[0]?.columns.get("loss")).toEqual({ step: [0, 1], value: [1, 3], time: [1795262400, 1.7e9] });
    expect(runs[1]?.columns.get("loss")?.time).toEqual([1.7e9]);
  });

  it("may be JSON lines with nested names and the numbers that JSON lacks", () => {
    const [run] = table(
      '{"step": 1, "train": {"loss": NaN}}\n\n{"step": 2, "train": {"loss": -Infinity}}',
      "a.jsonl",
    );
    expect(plainOf(run)).toEqual({ "train/loss": { step: [1, 2], value: [NaN, -Infinity], time: [5, 5] } });
  });

  it("say where they are wrong", () => {
    expect(() => table("step,a\n1,2\n1.5,2\n")).toThrow("Line 3, column step: “1.5” is not a whole step.");
    expect(() => table("step,a\n1,2,3\n")).toThrow("Line 2 has 3 fields, the first line 2.");
    expect(() => table('a,b\n"1,2\n')).toThrow("Line 2: a quote is never closed.");
    expect(() => table("{}\nnot json", "a.jsonl")).toThrow("Line 2 is not JSON.");
    expect(() => table("a,time\n1,soon\n")).toThrow("is not a time");
    expect(() => table("a,b\n")).toThrow("The file has no rows.");
    expect(() => table("a\nx\n")).toThrow("No column of the file has numbers.");
  });
});

/** Records as TensorBoard frames them; checksums are not looked at. */
function eventFile(...events: number[][]): ArrayBuffer {
  const bytes = events.flatMap((event) => [event.length, ...Array<number>(11).fill(0), ...event, 0, 0, 0, 0]);
  return Uint8Array.from(bytes).buffer;
}

const float = (value: number): number[] => [...new Uint8Array(Float32Array.of(value).buffer)];
const double = (value: number): number[] => [...new Uint8Array(Float64Array.of(value).buffer)];
const part = (number: number, bytes: number[]): number[] => [(number << 3) | 2, bytes.length, ...bytes];
const letters = (text: string): number[] => [...new TextEncoder().encode(text)];
const event = (step: number, value: number[]): number[] => [
  (1 << 3) | 1,
  ...double(100 + step),
  2 << 3,
  step,
  ...part(5, part(1, [...part(1, letters("loss")), ...value])),
];

describe("event files", () => {
  const old = event(1, [(2 << 3) | 5, ...float(0.5)]);
  const listed = event(2, part(8, [1 << 3, 1, ...part(5, float(0.25))]));
  const packed = event(3, part(8, [1 << 3, 2, ...part(4, double(0.1))]));

  it("give scalars of the old and the new style, and a run named by its folder", () => {
    const run = readEvents("logs/adam/events.out.tfevents.1", eventFile(old, listed, packed));
    expect(run.name).toBe("adam");
    expect(plainOf(run)).toEqual({
      loss: { step: [1, 2, 3], value: [0.5, 0.25, 0.1], time: [101, 102, 103] },
    });
  });

  it("may end within a record, and are refused when they are something else", () => {
    const whole = eventFile(old, listed);
    const cut = readEvents("a/b", whole.slice(0, whole.byteLength - 9));
    expect(pointsOf(cut)).toBe(1);
    expect(() => readEvents("a", Uint8Array.from(letters("no event file at all")).buffer)).toThrow(
      "no TensorBoard",
    );
    expect(() => readEvents("a", eventFile([(5 << 3) | 2, 99]))).toThrow("The record at byte 0 is damaged.");
  });
});

describe("what is sent", () => {
  const run = newRun("a", "a");
  [4, 5, NaN].forEach((value, at) => addPoint(run, "loss", at, value, 1));
  const here = (n: number, last: number | string, last_step: number) =>
    ({ metrics: { loss: { n, last, last_step } } }) as unknown as Parameters<typeof newColumns>[1];

  it("is what is not there yet, NaN as a word", () => {
    expect(newColumns(run, { metrics: {} })).toEqual([
      { key: "loss", step: [0, 1, 2], value: [4, 5, "NaN"], time: [1, 1, 1] },
    ]);
    expect(newColumns(run, here(2, 5, 1))[0]?.step).toEqual([2]);
    expect(newColumns(run, here(3, "NaN", 2))).toEqual([]);
  });

  it("is nothing when the beginning has changed", () => {
    expect(() => newColumns(run, here(2, 6, 1))).toThrow("Import into another project.");
    expect(() => newColumns(run, here(4, 1, 3))).toThrow("Import into another project.");
  });

  it("goes in batches that lose and repeat no point", () => {
    const columns = ["a", "b"].map((key) => ({ key, step: [0, 1, 2], value: [1, 2, 3], time: [0, 0, 0] }));
    const batches = batchesOf(columns, 4);
    expect(batches.map((batch) => batch.map((one) => [one.key, one.step]))).toEqual([
      [
        ["a", [0, 1, 2]],
        ["b", [0]],
      ],
      [["b", [1, 2]]],
    ]);
    expect(batchesOf(columns, 3)).toHaveLength(2);
    expect(batchesOf([], 3)).toEqual([]);
  });
});
