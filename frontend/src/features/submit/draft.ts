/** What a submission holds while it is being written; kept in the session, so that a reload loses nothing. */

import type { Run } from "@/api/types";
import type { Texts } from "@/forms/validate";
import type { JsonObject } from "@/lib/paths";

export interface Draft {
  readonly spec: JsonObject;
  readonly texts: Texts;
  readonly name: string;
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
    return JSON.parse(text) as Draft;
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
    name: parent === null ? "" : parent.name.replace(/, seed \d+$/, ""),
    seeds: String(parent?.seed ?? 0),
    project: parent?.project ?? project,
    kind: parent?.resources.kind ?? "cpu",
    devices: String(parent?.resources.devices ?? 1),
    timeLimitMin: String(Math.round((parent?.resources.time_limit_s ?? 3600) / 60)),
  };
}
