/** Arms of a study while they are written: a name, and one `path = value` a line for what the arm changes. Pure. */

import { isObject, leaves, mergeJson, setAt, type Json, type JsonObject } from "@/lib/paths";
import { formatConfigNumber } from "@/lib/numbers";

export interface DraftArm {
  readonly name: string;
  readonly changes: string;
}

export interface TemplateArm {
  readonly name: string;
  readonly spec: JsonObject;
}

function valueText(value: Json): string {
  return typeof value === "string" && readValue(value) === value ? value : JSON.stringify(value);
}

function readValue(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

export function changesText(spec: JsonObject): string {
  return leaves(spec)
    .filter(([path]) => path !== "")
    .map(([path, value]) => `${path} = ${valueText(value)}`)
    .join("\n");
}

export function draftArms(arms: readonly TemplateArm[]): DraftArm[] {
  return arms.map((arm) => ({ name: arm.name, changes: changesText(arm.spec) }));
}

const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");

/** What the arm lays over the spec. Lines that are no assignment are left out; `armErrors` names them. */
export function armSpec(arm: DraftArm): JsonObject {
  let spec: Json = {};
  for (const line of lines(arm.changes)) {
    const at = line.indexOf("=");
    const path = line.slice(0, at).trim();
    if (at > 0 && path !== "") spec = setAt(spec, path, readValue(line.slice(at + 1).trim()));
  }
  return isObject(spec) ? spec : {};
}

/** What is wrong with the arms, by `arms.0`, `arms.1`, ... */
export function armErrors(arms: readonly DraftArm[]): Map<string, string> {
  const found = new Map<string, string>();
  arms.forEach((arm, at) => {
    const wrong = lines(arm.changes).find((line) => !/^[A-Za-z_][\w.]*\s*=\s*\S/.test(line));
    const name = arm.name.trim();
    if (name === "") found.set(`arms.${at}`, "Name the arm.");
    else if (arms.some((other, place) => place < at && other.name.trim() === name))
      found.set(`arms.${at}`, `There are two arms called ${name}.`);
    else if (wrong !== undefined)
      found.set(`arms.${at}`, `Write one change a line, as optimizer.lr = 0.01; not: ${wrong}`);
  });
  return found;
}

/** One arm for each value of one field, named after what it changes. */
export function variedArms(path: string, values: string): DraftArm[] {
  const short = path.split(".").at(-1) ?? path;
  return splitValues(values).map((text) => {
    const value = readValue(text);
    const shown = typeof value === "number" ? formatConfigNumber(value) : text;
    return { name: `${short} ${shown}`, changes: `${path} = ${valueText(value)}` };
  });
}

/** Split at commas outside brackets and quotes. */
function splitValues(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quoted = false;
  let part = "";
  for (const char of text) {
    if (char === '"') quoted = !quoted;
    if (!quoted && "[{".includes(char)) depth += 1;
    if (!quoted && "]}".includes(char)) depth -= 1;
    if (char === "," && depth === 0 && !quoted) {
      parts.push(part);
      part = "";
    } else part += char;
  }
  return [...parts, part].map((one) => one.trim()).filter((one) => one !== "");
}

/** Fields that an arm may vary: the leaves of the spec. */
export function variablePaths(spec: JsonObject): string[] {
  return leaves(spec).map(([path]) => path);
}

/** Every combination of the arms there are and the new ones; the new ones alone when there are none. */
export function crossed(arms: readonly DraftArm[], added: readonly DraftArm[]): DraftArm[] {
  if (arms.length === 0) return [...added];
  return arms.flatMap((arm) =>
    added.map((one) => ({
      name: `${arm.name}, ${one.name}`,
      changes: changesText(mergeJson(armSpec(arm), armSpec(one)) as JsonObject),
    })),
  );
}
