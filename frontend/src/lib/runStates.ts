/** The states of a run, their words, and which of them are alike for the eye. */

import { plural } from "./numbers";

export const runStates = [
  "HELD",
  "QUEUED",
  "ASSIGNED",
  "STARTING",
  "RUNNING",
  "STOPPING",
  "SUCCEEDED",
  "FAILED",
  "CANCELLED",
  "LOST",
] as const;

export type RunState = (typeof runStates)[number];

export const stateWords: Readonly<Record<RunState, string>> = {
  HELD: "Held",
  QUEUED: "Queued",
  ASSIGNED: "Assigned",
  STARTING: "Starting",
  RUNNING: "Running",
  STOPPING: "Stopping",
  SUCCEEDED: "Succeeded",
  FAILED: "Failed",
  CANCELLED: "Cancelled",
  LOST: "Lost",
};

export function isActive(state: RunState): boolean {
  return state === "ASSIGNED" || state === "STARTING" || state === "RUNNING" || state === "STOPPING";
}

export function isWaiting(state: RunState): boolean {
  return state === "QUEUED" || state === "HELD";
}

export function isOver(state: RunState): boolean {
  return !isActive(state) && !isWaiting(state);
}

/** "2 running, 2 waiting, 1 failed". */
export function statesSentence(states: Readonly<Partial<Record<RunState, number>>>): string {
  const count = (...names: RunState[]): number => names.reduce((sum, name) => sum + (states[name] ?? 0), 0);
  const parts: [number, string][] = [
    [count("SUCCEEDED"), "succeeded"],
    [count("ASSIGNED", "STARTING", "RUNNING", "STOPPING"), "running"],
    [count("QUEUED", "HELD"), "waiting"],
    [count("FAILED"), "failed"],
    [count("LOST"), "lost"],
    [count("CANCELLED"), "cancelled"],
  ];
  const said = parts.filter(([n]) => n > 0).map(([n, word]) => `${n} ${word}`);
  return said.length > 0 ? said.join(", ") : plural(0, "run");
}
