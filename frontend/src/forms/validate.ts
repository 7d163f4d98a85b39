/** What is wrong with a value, as a sentence that says the allowed range. The server has the last word. */

import { formatConfigNumber } from "@/lib/numbers";
import { getAt, type Json } from "@/lib/paths";
import {
  variantOf,
  type Field,
  type ListField,
  type NumberField,
  type Section,
  type TextField,
} from "./model";

/** Text that is in an input and is no value yet, by path. */
export type Texts = Readonly<Record<string, string>>;

export function rangeWords(field: NumberField): string {
  const { minimum, maximum, above, below } = field;
  const low =
    minimum !== null
      ? `at least ${formatConfigNumber(minimum)}`
      : above !== null
        ? `above ${formatConfigNumber(above)}`
        : "";
  const high =
    maximum !== null
      ? `at most ${formatConfigNumber(maximum)}`
      : below !== null
        ? `below ${formatConfigNumber(below)}`
        : "";
  return [low, high].filter((part) => part !== "").join(" and ");
}

export function numberError(field: NumberField, value: Json | undefined): string | null {
  if (typeof value !== "number" || !Number.isFinite(value)) {
    return field.integer ? "Must be a whole number." : "Must be a number.";
  }
  const outside =
    (field.minimum !== null && value < field.minimum) ||
    (field.maximum !== null && value > field.maximum) ||
    (field.above !== null && value <= field.above) ||
    (field.below !== null && value >= field.below);
  if (outside) return `Must be ${rangeWords(field)}.`;
  if (field.integer && !Number.isInteger(value)) return "Must be a whole number.";
  if (
    field.multipleOf !== null &&
    Math.abs(value / field.multipleOf - Math.round(value / field.multipleOf)) > 1e-9
  ) {
    return `Must be a multiple of ${formatConfigNumber(field.multipleOf)}.`;
  }
  return null;
}

function textError(field: TextField, value: Json | undefined): string | null {
  if (typeof value !== "string") return field.required ? "This field is required." : null;
  if (value.length < field.minLength)
    return field.minLength === 1
      ? "This field is required."
      : `Must have at least ${field.minLength} characters.`;
  if (field.maxLength !== null && value.length > field.maxLength)
    return `Must have at most ${field.maxLength} characters.`;
  if (field.pattern !== null && !matches(field.pattern, value)) return `Must match ${field.pattern}.`;
  return null;
}

function matches(pattern: string, value: string): boolean {
  try {
    return new RegExp(pattern, "u").test(value);
  } catch {
    return true;
  }
}

function listError(field: ListField, value: Json | undefined): string | null {
  if (!Array.isArray(value)) return "Must be a list.";
  if (value.length < field.minItems) return `Must have at least ${field.minItems} values.`;
  if (field.maxItems !== null && value.length > field.maxItems)
    return `Must have at most ${field.maxItems} values.`;
  const { item } = field;
  const items = value as readonly Json[];
  for (const one of items) {
    const error =
      item.kind === "number" ? numberError(item, one) : item.kind === "text" ? textError(item, one) : null;
    if (error !== null) return `Each value: ${error.charAt(0).toLowerCase()}${error.slice(1)}`;
  }
  return null;
}

/** Errors by path, deepest first seen. `found` is filled and returned. */
export function fieldErrors(
  field: Field,
  spec: Json,
  texts: Texts,
  found = new Map<string, string>(),
): Map<string, string> {
  const value = getAt(spec, field.path);
  const pending = texts[field.path];
  const put = (error: string | null): void => {
    if (error !== null) found.set(field.path, error);
  };
  switch (field.kind) {
    case "number":
      put(
        pending !== undefined
          ? numberError(field, undefined)
          : value === undefined
            ? "This field is required."
            : numberError(field, value),
      );
      break;
    case "text":
      put(textError(field, value));
      break;
    case "list":
      put(pending !== undefined ? "Must be values separated by commas." : listError(field, value));
      break;
    case "raw":
      put(pending !== undefined ? "Must be JSON." : null);
      break;
    case "choice":
      put(value === undefined ? "Choose one." : null);
      break;
    case "group":
      field.fields.forEach((inner) => fieldErrors(inner, spec, texts, found));
      break;
    case "optional":
      if (value !== null && value !== undefined) fieldErrors(field.inner, spec, texts, found);
      break;
    case "union": {
      const variant = variantOf(field, value);
      if (variant === undefined) put("Choose one.");
      else variant.fields.forEach((inner) => fieldErrors(inner, spec, texts, found));
      break;
    }
    case "switch":
    case "const":
      break;
  }
  return found;
}

export function sectionErrors(section: Section, spec: Json, texts: Texts): Map<string, string> {
  const found = new Map<string, string>();
  section.fields.forEach((field) => fieldErrors(field, spec, texts, found));
  return found;
}

/** "3e-4", "1,500", "0.5": a number, or null when it is none. */
export function parseNumber(text: string): number | null {
  const plain = text
    .trim()
    .replaceAll(/[,\u202f ](?=\d{3}(\D|$))/g, "")
    .replace("\u2212", "-");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain)) return null;
  const value = Number(plain);
  return Number.isFinite(value) ? value : null;
}

/** Seeds as people write them: "0", "0, 1, 5", "0 to 4", "0-4". */
export function parseSeeds(text: string): number[] | null {
  const seeds: number[] = [];
  for (const part of text.split(",").map((one) => one.trim())) {
    const range = /^(\d+)\s*(?:to|-|–)\s*(\d+)$/.exec(part);
    if (range !== null) {
      const [from, to] = [Number(range[1]), Number(range[2])];
      if (to < from || to - from >= 100) return null;
      for (let seed = from; seed <= to; seed += 1) seeds.push(seed);
    } else if (/^\d+$/.test(part)) seeds.push(Number(part));
    else return null;
  }
  return [...new Set(seeds)];
}
