/** Values inside JSON by dotted path: `optimizer.lr`, `arms.0.name`. */

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function getAt(root: Json | undefined, path: string): Json | undefined {
  let here: Json | undefined = root;
  for (const part of path === "" ? [] : path.split(".")) {
    if (Array.isArray(here)) here = (here as readonly Json[])[Number(part)];
    else if (isObject(here)) here = here[part];
    else return undefined;
  }
  return here;
}

/** A copy of root with the value at path replaced; undefined removes it. Missing objects are made. */
export function setAt(root: Json | undefined, path: string, value: Json | undefined): Json {
  const [head = "", ...rest] = path.split(".");
  if (path === "") return value ?? {};
  const tail = rest.join(".");
  if (Array.isArray(root)) {
    const copy = [...(root as readonly Json[])];
    const index = Number(head);
    if (tail === "" && value === undefined) copy.splice(index, 1);
    else copy[index] = tail === "" ? (value ?? null) : setAt(copy[index], tail, value);
    return copy;
  }
  const copy: JsonObject = isObject(root) ? root : {};
  if (tail === "" && value === undefined) {
    return Object.fromEntries(Object.entries(copy).filter(([key]) => key !== head));
  }
  return { ...copy, [head]: tail === "" ? (value ?? null) : setAt(copy[head], tail, value) };
}

/** Every leaf as path and value; lists of plain values and empty things count as leaves. */
export function leaves(root: Json, prefix = ""): [string, Json][] {
  const nested = Array.isArray(root)
    ? (root as readonly Json[]).some((item) => typeof item === "object" && item !== null)
    : isObject(root) && Object.keys(root).length > 0;
  if (!nested) return [[prefix, root]];
  return Object.entries(root as JsonObject).flatMap(([key, value]) =>
    leaves(value, prefix === "" ? key : `${prefix}.${key}`),
  );
}

export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a as JsonObject, b as JsonObject];
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => sameJson(left[key], right[key]));
}

export interface Change {
  readonly path: string;
  readonly before: Json | undefined;
  readonly after: Json | undefined;
}

/** Leaves that differ, in the order of `after`, then those that are gone. */
export function changes(before: Json, after: Json): Change[] {
  const [old, now] = [new Map(leaves(before)), new Map(leaves(after))];
  const found: Change[] = [];
  for (const [path, value] of now) {
    if (!sameJson(old.get(path), value)) found.push({ path, before: old.get(path), after: value });
  }
  for (const [path, value] of old) {
    if (!now.has(path)) found.push({ path, before: value, after: undefined });
  }
  return found;
}

/** Objects are merged, everything else is replaced. */
export function mergeJson(base: Json, over: Json): Json {
  if (!isObject(base) || !isObject(over)) return over;
  const merged: Record<string, Json> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = below === undefined ? value : mergeJson(below, value);
  }
  return merged;
}
