/** What a submission holds while it is being written; kept in the session, so that a reload loses nothing. */

import type { RecipeTemplate, Run } from "@/api/types";
import type { Texts } from "@/forms/validate";
import type { JsonObject } from "@/lib/paths";
import { draftArms, type DraftArm } from "./arms";

export interface Draft {
  readonly spec: JsonObject;
  readonly texts: Texts;
  readonly name: string;
  /** None: the spec itself is the only arm. */
  readonly arms: readonly DraftArm[];
  /** The study template from which the arms came; empty when there was none. */
  readonly template: string;
  readonly seeds: string;
  readonly project: string;
  readonly kind: string;
  readonly devices: string;
  readonly timeLimitMin: string;
}

export function draftKey(org: string, recipe: string, from: string, example: string): string {
  return `stillroom.draft.${org}.${recipe}.${from}.${example}`;
}

export function readDraft(key: string): Draft | null {
  const text = sessionStorage.getItem(key);
  if (text === null) return null;
  try {
    const kept = JSON.parse(text) as Partial<Draft>;
    // A draft of an earlier version of the page is none.
    return Array.isArray(kept.arms) ? (kept as Draft) : null;
  } catch {
    return null;
  }
}

export function writeDraft(key: string, draft: Draft): void {
  sessionStorage.setItem(key, JSON.stringify(draft));
}

export function dropDraft(key: string): void {
  sessionStorage.removeItem(key);
}

export function freshDraft(spec: JsonObject, parent: Run | null, project: string): Draft {
  return {
    spec: parent?.spec ?? spec,
    texts: {},
    arms: [],
    template: "",
    name: parent === null ? "" : parent.name.replace(/, seed \d+$/, ""),
    seeds: String(parent?.seed ?? 0),
    project: parent?.project ?? project,
    kind: parent?.resources.kind ?? "cpu",
    devices: String(parent?.resources.devices ?? 1),
    timeLimitMin: String(Math.round((parent?.resources.time_limit_s ?? 3600) / 60)),
  };
}

/** What a study template fills in. */
export function templateDraft(template: RecipeTemplate): Partial<Draft> & Pick<Draft, "arms" | "seeds"> {
  return {
    spec: template.spec,
    texts: {},
    name: template.title,
    arms: draftArms(template.arms),
    template: template.name,
    seeds: template.seeds.join(", "),
  };
}
