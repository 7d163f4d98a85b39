import { describe, expect, it } from "vitest";
import {
  formatBytes,
  formatConfigNumber,
  formatInterval,
  formatPower,
  formatShort,
  formatValue,
  fromWire,
  ordinal,
  plural,
} from "./numbers";
import { formatDuration, formatTime } from "./times";

describe("numbers", () => {
  it.each([
    [2.43112, "2.431"],
    [61.23456, "61.23"],
    [0.01234, "0.01234"],
    [-0.0514, "\u22120.05140"],
    [18432, "18,432"],
    [18432.7, "18,433"],
    [3, "3"],
    [0, "0"],
    [0.0003, "3\u202f×\u202f10⁻⁴"],
    [NaN, "NaN"],
    [-Infinity, "\u2212inf"],
  ])("%d reads %s", (value, text) => {
    expect(formatValue(value)).toBe(text);
  });

  it.each([
    [2.4312, 0.0113, "2.431", "0.011"],
    [2.4468, 0.0062, "2.447", "0.006"],
    [1234.5, 81.2, "1,235", "81"],
    [-0.0143, 0.0081, "\u22120.014", "0.008"],
  ])("%d with half-width %d takes its decimals", (mean, half, value, halfText) => {
    expect(formatInterval(mean, half)).toMatchObject({ value, half: halfText });
  });

  it("shows no interval where there is none", () => {
    expect(formatInterval(2.4312, null)).toEqual({ value: "2.431", half: null, lo: null, hi: null });
  });

  it("reads the wire's strings", () => {
    expect([fromWire("NaN"), fromWire("-Infinity"), fromWire(2)]).toEqual([NaN, -Infinity, 2]);
  });

  it.each([
    [18432, "18.4k"],
    [20000, "20k"],
    [5000, "5,000"],
    [1.5e9, "1.5B"],
    [0.5, "0.5"],
  ])("%d on an axis is %s", (value, text) => {
    expect(formatShort(value)).toBe(text);
  });

  it("writes config numbers as they are typed", () => {
    expect([3e-4, 30000, 0.5, 1e9].map(formatConfigNumber)).toEqual(["3e-4", "30000", "0.5", "1e9"]);
  });

  it("writes powers, bytes, ordinals and plurals", () => {
    expect(formatPower(1e-4)).toBe("10⁻⁴");
    expect(formatBytes(1_080_000_000)).toBe("1.08\u202fGB");
    expect([1, 2, 3, 11].map(ordinal)).toEqual(["1st", "2nd", "3rd", "11th"]);
    expect([plural(1, "run"), plural(1284, "run")]).toEqual(["1 run", "1,284 runs"]);
  });
});

describe("times", () => {
  it.each([
    [0.42, "0.4 s"],
    [22, "22 s"],
    [18 * 60, "18 min"],
    [84 * 60, "1 h 24 min"],
    [2 * 86400 + 4 * 3600, "2 d 4 h"],
  ])("%d s reads %s", (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it("is relative below an hour, clock today, day this year", () => {
    const now = new Date(2026, 10, 21, 14, 32);
    const at = (minutesAgo: number): string => new Date(now.getTime() - minutesAgo * 60_000).toISOString();
    expect(formatTime(at(4), now)).toBe("4 min ago");
    expect(formatTime(at(120), now)).toBe("12:32");
    expect(formatTime(at(24 * 60), now)).toBe("20 Nov 14:32");
  });
});
