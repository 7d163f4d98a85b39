/** What the draft asks for, what is wrong with it, and sending it. */

import { createProject } from "@/api/orgs";
import { launchRun, launchStudy } from "@/api/runs";
import type { Resources } from "@/api/types";
import type { Section } from "@/forms/model";
import { parseNumber, parseSeeds, sectionErrors } from "@/forms/validate";
import { slugOf } from "@/lib/slug";
import { armErrors, armSpec } from "./arms";
import type { Draft } from "./draft";

export const NEW_PROJECT = "+";

/** Errors by path: fields of the spec by their own, the rest as `seeds`, `name`, `resources.devices`. */
export function draftErrors(draft: Draft, sections: readonly Section[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const section of sections) {
    for (const [path, text] of sectionErrors(section, draft.spec, draft.texts)) found.set(path, text);
  }
  for (const [path, text] of armErrors(draft.arms)) found.set(path, text);
  const seeds = parseSeeds(draft.seeds);
  if (seeds === null || seeds.length === 0) found.set("seeds", "Write seeds as 0, or 0 to 4, or 0, 3, 7.");
  else if (seeds.length > 100) found.set("seeds", "At most 100 seeds.");
  const devices = parseNumber(draft.devices);
  if (devices === null || devices < 1 || !Number.isInteger(devices)) {
    found.set("resources.devices", "Must be a whole number of at least 1.");
  }
  const minutes = parseNumber(draft.timeLimitMin);
  if (minutes === null || minutes < 1 || minutes > 43_200) {
    found.set("resources.time_limit_s", "Must be at least 1 and at most 43,200 minutes.");
  }
  if (projectSlug(draft) === "")
    found.set("project", "Name the project, with lower-case letters, digits and dashes.");
  return found;
}

export function projectSlug(draft: Draft): string {
  const name = draft.project.startsWith(NEW_PROJECT) ? draft.project.slice(1) : draft.project;
  return slugOf(name);
}

function resourcesOf(draft: Draft): Resources {
  return {
    kind: draft.kind,
    devices: parseNumber(draft.devices) ?? 1,
    time_limit_s: Math.round((parseNumber(draft.timeLimitMin) ?? 60) * 60),
  };
}

/** How many runs a launch makes. */
export function runCount(draft: Draft): number {
  return Math.max(1, draft.arms.length) * (parseSeeds(draft.seeds)?.length ?? 1);
}

/** One arm and one seed are a run, more are a study. Answers the path of the page that shows what was launched. */
export async function launch(
  org: string,
  recipe: { readonly name: string; readonly title: string },
  draft: Draft,
  parent: string | null,
  key: string,
): Promise<string> {
  const seeds = parseSeeds(draft.seeds) ?? [0];
  const slug = projectSlug(draft);
  if (draft.project.startsWith(NEW_PROJECT)) {
    await createProject(org, { slug, name: draft.project.slice(1).trim(), description: "" });
  }
  const shared = { recipe: recipe.name, spec: draft.spec, resources: resourcesOf(draft), parent };
  const [seed = 0] = seeds;
  if (seeds.length === 1 && draft.arms.length === 0) {
    const run = await launchRun(org, slug, { ...shared, seed, name: draft.name.trim(), tags: {} }, key);
    return `/o/${org}/runs/${run.id}`;
  }
  const name = draft.name.trim() === "" ? recipe.title : draft.name.trim();
  const arms = draft.arms.map((arm) => ({ name: arm.name.trim(), spec: armSpec(arm) }));
  const study = await launchStudy(org, slug, { ...shared, name, template: draft.template, arms, seeds }, key);
  return `/o/${org}/studies/${study.id}`;
}

/** Where the server puts an error, as the form names it. */
export function serverErrors(fields: Readonly<Record<string, string>>): Map<string, string> {
  return new Map(
    Object.entries(fields).map(([path, text]) => [path.replace(/^(body\.)?(payload\.)?(spec\.)?/, ""), text]),
  );
}
