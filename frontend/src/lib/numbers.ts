/** Numbers as people read them: four significant figures, true minus, thin no-break space before units. */

export const THIN_SPACE = "\u202f";
const MINUS = "\u2212";
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** What metric values look like on the wire: NaN and infinities travel as strings. */
export type WireNumber = number | string;

export function fromWire(value: WireNumber | null | undefined): number {
  return value === null || value === undefined ? NaN : Number(value);
}

function trueMinus(text: string): string {
  return text.replace("-", MINUS);
}

function withCommas(text: string): string {
  const [whole = "", fraction] = text.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

function special(value: number): string | null {
  if (Number.isNaN(value)) return "NaN";
  if (value === Infinity) return "inf";
  if (value === -Infinity) return `${MINUS}inf`;
  return null;
}

/** With a fixed number of decimals, commas and a true minus. */
export function formatFixed(value: number, decimals: number): string {
  const text = special(value);
  if (text !== null) return text;
  const fixed = value.toFixed(Math.max(0, Math.min(20, decimals)));
  return trueMinus(withCommas(/^-0(\.0*)?$/.test(fixed) ? fixed.slice(1) : fixed));
}

export function formatInteger(value: number): string {
  return formatFixed(Math.round(value), 0);
}

/** Prose and axes: 3 × 10⁻⁴. */
export function formatPower(value: number, digits = 3): string {
  const [mantissa = "0", exponent = "0"] = value.toExponential(digits - 1).split("e");
  const trimmed = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  const sign = exponent.startsWith("-") ? "⁻" : "";
  const raised = exponent.replace(/[+-]/, "").replace(/\d/g, (digit) => SUPERSCRIPTS[Number(digit)] ?? "");
  const head =
    trimmed === "1" ? "" : trimmed === "-1" ? MINUS : `${trueMinus(trimmed)}${THIN_SPACE}×${THIN_SPACE}`;
  return `${head}10${sign}${raised}`;
}

/** Four significant figures; whole numbers stay whole. */
export function formatValue(value: number): string {
  const text = special(value);
  if (text !== null) return text;
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e15 || size < 5e-4) return formatPower(value, 4);
  if (size >= 10_000 || Number.isInteger(value)) return formatInteger(value);
  return formatFixed(value, Math.max(0, 3 - Math.floor(Math.log10(size))));
}

/** The decimals at which a half-width has one or two significant digits. */
export function decimalsFor(halfWidth: number): number {
  if (!Number.isFinite(halfWidth) || halfWidth <= 0) return 3;
  return Math.max(0, Math.ceil(Math.log10(3.55 / halfWidth)));
}

/** Past this many decimals an interval is written with powers of ten. */
const MOST_DECIMALS = 6;

export interface IntervalText {
  readonly value: string;
  readonly half: string | null;
  readonly lo: string | null;
  readonly hi: string | null;
}

/** A mean and its half-width, rounded to the decimals of the half-width. n = 1 or no half-width: no interval. */
export function formatInterval(mean: number, halfWidth: number | null): IntervalText {
  if (halfWidth === null || !Number.isFinite(halfWidth) || !Number.isFinite(mean)) {
    return { value: formatValue(mean), half: null, lo: null, hi: null };
  }
  if (halfWidth === 0)
    return { value: formatValue(mean), half: "0", lo: formatValue(mean), hi: formatValue(mean) };
  const decimals = decimalsFor(halfWidth);
  if (decimals > MOST_DECIMALS) {
    const text = (value: number): string => (value === 0 ? "0" : formatPower(value, 3));
    return {
      value: text(mean),
      half: formatPower(halfWidth, 2),
      lo: text(mean - halfWidth),
      hi: text(mean + halfWidth),
    };
  }
  return {
    value: formatFixed(mean, decimals),
    half: formatFixed(halfWidth, decimals),
    lo: formatFixed(mean - halfWidth, decimals),
    hi: formatFixed(mean + halfWidth, decimals),
  };
}

const SI: readonly (readonly [number, string])[] = [
  [1e12, "T"],
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "k"],
];

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Axes and crowded places: 18k, 1.5M, 2B. */
export function formatShort(value: number): string {
  const text = special(value);
  if (text !== null) return text;
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-3) return formatPower(value, 2);
  const step = size >= 10_000 ? SI.find(([from]) => size >= from) : undefined;
  if (step === undefined) return trueMinus(withCommas(trimZeros(value.toPrecision(4))));
  return trueMinus(trimZeros((value / step[0]).toPrecision(3)) + step[1]);
}

/** Config, YAML, inputs: 3e-4, 30000, 0.5. */
export function formatConfigNumber(value: number): string {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e7)) {
    return value.toExponential().replace("e+", "e");
  }
  return String(value);
}

/** GB = 10^9 bytes. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = bytes;
  let at = 0;
  while (size >= 1000 && at < units.length - 1) {
    size /= 1000;
    at += 1;
  }
  const text = at === 0 ? String(size) : trimZeros(size.toPrecision(3));
  return `${text}${THIN_SPACE}${units[at] ?? "B"}`;
}

export function formatPercent(fraction: number): string {
  return `${formatFixed(fraction * 100, 0)}${THIN_SPACE}%`;
}

export function plural(count: number, noun: string, many = `${noun}s`): string {
  return `${formatInteger(count)} ${count === 1 ? noun : many}`;
}

const ORDINALS: Readonly<Record<string, string>> = { one: "st", two: "nd", few: "rd", other: "th" };

export function ordinal(position: number): string {
  return `${position}${ORDINALS[new Intl.PluralRules("en", { type: "ordinal" }).select(position)] ?? "th"}`;
}
