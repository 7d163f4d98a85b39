/** Which columns a project's table can have. Pure. */

import type { Recipe, RecipeMetric, Run } from "@/api/types";
import { leaves, sameJson, type Json } from "@/lib/paths";

/** A column of the configuration is named as in the query language: params.optimizer.lr. */
export const PARAM = "params.";

/** What tells most of a run of which nothing else is known. */
const TELLING = ["eval/", "val/", "test/", "train/", "loss", "accuracy"];

function telling(key: string): number {
  const place = TELLING.findIndex((start) => key.startsWith(start));
  return place < 0 ? TELLING.length : place;
}

/**
 * The metrics that a project's runs can show: primary ones first, those of the recipe with most runs before others,
 * then what scripts logged under names of their own.
 */
export function metricChoices(
  recipes: readonly Recipe[],
  counts: ReadonlyMap<string, number>,
  logged: readonly string[],
): RecipeMetric[] {
  const present = recipes
    .filter((recipe) => counts.size === 0 || counts.has(recipe.name))
    .sort((a, b) => (counts.get(b.name) ?? 0) - (counts.get(a.name) ?? 0));
  const ordered = [true, false].flatMap((primary) =>
    present.flatMap((recipe) => recipe.metrics.filter((metric) => metric.primary === primary)),
  );
  const known = ordered.filter(
    (metric, at) =>
      ordered.findIndex((one) => one.key === metric.key) === at &&
      (logged.length === 0 || logged.includes(metric.key)),
  );
  const own = logged
    .filter((key) => !known.some((metric) => metric.key === key) && !key.startsWith("system/"))
    .sort((a, b) => telling(a) - telling(b) || a.localeCompare(b))
    .map((key) => ({ key, unit: "", goal: null, help: "", primary: false }));
  return [...known, ...own];
}

/** Paths of the configuration at which the runs differ. */
export function paramChoices(runs: readonly Run[]): string[] {
  const first = new Map<string, Json>();
  const seen = new Map<string, number>();
  const differ = new Set<string>();
  for (const run of runs) {
    for (const [path, value] of leaves(run.spec)) {
      if (path === "") continue;
      if (!first.has(path)) first.set(path, value);
      else if (!sameJson(first.get(path), value)) differ.add(path);
      seen.set(path, (seen.get(path) ?? 0) + 1);
    }
  }
  for (const [path, n] of seen) if (n < runs.length) differ.add(path);
  return [...differ].sort();
}
