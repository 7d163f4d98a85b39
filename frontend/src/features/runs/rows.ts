/** From what the server sent to the rows of the table. Pure. */

import type { Run, RunGroup } from "@/api/types";
import { fromWire } from "@/lib/numbers";
import type { RunState } from "@/lib/runStates";

export type Row =
  | {
      readonly kind: "group";
      readonly id: string;
      readonly group: RunGroup;
      readonly states: Readonly<Partial<Record<RunState, number>>>;
      readonly members: readonly Run[];
      readonly style: number;
      readonly open: boolean;
    }
  | {
      readonly kind: "run";
      readonly id: string;
      readonly run: Run;
      readonly style: number;
      readonly nested: boolean;
    };

function countStates(runs: readonly Run[]): Partial<Record<RunState, number>> {
  const counts: Partial<Record<RunState, number>> = {};
  for (const run of runs) counts[run.state] = (counts[run.state] ?? 0) + 1;
  return counts;
}

/** A group of one run is that run; more runs get a row of their own that opens. */
export function rowsOf(
  items: readonly Run[],
  groups: readonly RunGroup[] | null,
  open: ReadonlySet<string>,
): Row[] {
  if (groups === null) return items.map((run) => ({ kind: "run", id: run.id, run, style: 0, nested: false }));
  const byId = new Map(items.map((run) => [run.id, run]));
  const rows: Row[] = [];
  const shown = new Set<string>();
  groups.forEach((group, style) => {
    const members = group.runs.flatMap((id) => byId.get(id) ?? []);
    members.forEach((run) => shown.add(run.id));
    const [only] = members;
    if (group.n === 1 && only !== undefined) {
      rows.push({ kind: "run", id: only.id, run: only, style, nested: false });
      return;
    }
    const states = members.length === group.n ? countStates(members) : group.states;
    const id = `g:${group.spec_hash}:${group.runs[0] ?? ""}`;
    const isOpen = open.has(group.spec_hash.slice(0, 12));
    rows.push({ kind: "group", id, group, states, members, style, open: isOpen });
    if (isOpen) members.forEach((run) => rows.push({ kind: "run", id: run.id, run, style, nested: true }));
  });
  items
    .filter((run) => !shown.has(run.id))
    .forEach((run) => rows.push({ kind: "run", id: run.id, run, style: groups.length, nested: false }));
  return rows;
}

export function runsIn(row: Row): readonly Run[] {
  return row.kind === "run" ? [row.run] : row.members;
}

/** Live mean over members that have a value, for groups that have not finished. */
export function liveMean(members: readonly Run[], key: string): { mean: number; n: number } | null {
  const values = members
    .map((run) => run.metrics[key]?.last)
    .map((last) => fromWire(last))
    .filter(Number.isFinite);
  if (values.length === 0) return null;
  return { mean: values.reduce((sum, value) => sum + value, 0) / values.length, n: values.length };
}

export type SortDirection = "" | "-";

/** created, newest first -> "-created_at"; a click on a column sorts ascending, another descending, a third not at all. */
export function nextSort(current: string, column: string): string {
  if (current === column) return `-${column}`;
  return current === `-${column}` ? "" : column;
}

/** Groups come from the server in its order; a metric or name order is applied to them here. */
export function sortGroups(groups: readonly RunGroup[], sort: string): readonly RunGroup[] {
  const column = sort.replace(/^-/, "");
  const sign = sort.startsWith("-") ? -1 : 1;
  if (column === "name") return [...groups].sort((a, b) => sign * a.label.localeCompare(b.label));
  if (!column.startsWith("metric:")) return groups;
  const value = (group: RunGroup): number => {
    const found = fromWire(group.metrics[column.slice(7)]?.mean);
    return Number.isFinite(found) ? found * sign : Infinity;
  };
  return [...groups].sort((a, b) => value(a) - value(b));
}
