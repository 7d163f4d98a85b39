/** Conditions of alert rules: what a person fills in, and how a rule reads. */

import type { Alert, NewAlert } from "@/api/alerts";
import { formatConfigNumber, plural } from "@/lib/numbers";

export type Kind = NewAlert["condition"]["kind"];

export const kinds: readonly (readonly [Kind, string])[] = [
  ["state", "a run ends in a state"],
  ["metric", "a metric passes a value"],
  ["divergence", "a metric becomes NaN or infinite"],
  ["silence", "a run goes silent"],
];

export interface Draft {
  readonly kind: Kind;
  readonly states: "FAILED" | "LOST" | "FAILED_OR_LOST" | "SUCCEEDED";
  readonly key: string;
  readonly op: "gt" | "lt";
  readonly threshold: string;
  readonly minutes: string;
}

export const emptyDraft: Draft = {
  kind: "state",
  states: "FAILED_OR_LOST",
  key: "",
  op: "gt",
  threshold: "",
  minutes: "15",
};

/** The condition on the wire; what is missing or no number is refused by the server with the name of its field. */
export function conditionOf(draft: Draft): NewAlert["condition"] {
  switch (draft.kind) {
    case "state":
      return {
        kind: "state",
        states: draft.states === "FAILED_OR_LOST" ? ["FAILED", "LOST"] : [draft.states],
      };
    case "metric":
      return {
        kind: "metric",
        key: draft.key.trim(),
        op: draft.op,
        threshold: draft.threshold.trim() === "" ? Number.NaN : Number(draft.threshold),
        reduce: "last",
        window: 1,
      };
    case "divergence":
      return { kind: "divergence", key: draft.key.trim() === "" ? null : draft.key.trim() };
    case "silence":
      return { kind: "silence", minutes: Number(draft.minutes) };
  }
}

const signs: Readonly<Record<string, string>> = { gt: ">", ge: "≥", lt: "<", le: "≤" };

/** A rule's condition as half a sentence. */
export function conditionText(condition: Alert["condition"]): string {
  const text = (name: string): string => {
    const value = condition[name];
    return typeof value === "string" || typeof value === "number" ? String(value) : "";
  };
  switch (text("kind")) {
    case "state": {
      const states = Array.isArray(condition["states"]) ? condition["states"].map(String) : [];
      return `a run becomes ${states.map((state) => state.toLowerCase()).join(" or ")}`;
    }
    case "metric": {
      const window = Number(text("window"));
      const what =
        window > 1 ? `${text("reduce")} of the last ${window} points of ${text("key")}` : text("key");
      return `${what} ${signs[text("op")] ?? text("op")} ${formatConfigNumber(Number(text("threshold")))}`;
    }
    case "divergence":
      return text("key") === ""
        ? "any metric becomes NaN or infinite"
        : `${text("key")} becomes NaN or infinite`;
    case "silence":
      return `a running run sends nothing for ${plural(Number(text("minutes")), "minute")}`;
    default:
      return JSON.stringify(condition);
  }
}
