/** What every reader gives: runs with points as columns, in the order of logging; and what can be wrong with a file. */

export interface Column {
  readonly step: number[];
  readonly value: number[];
  /** Seconds since 1970. */
  readonly time: number[];
}

export interface SourceRun {
  /** Stable in its source: importing the file again finds the same run. */
  readonly id: string;
  readonly name: string;
  readonly columns: Map<string, Column>;
}

/** A file that cannot be imported; the message names the place and what was expected. */
export class BadSource extends Error {}

const MOST_KEY = 256;

export function newRun(id: string, name: string): SourceRun {
  return { id, name, columns: new Map() };
}

/** One point, under the key as the platform takes it. */
export function addPoint(run: SourceRun, key: string, step: number, value: number, time: number): void {
  const usable =
    key
      .replace(/\p{Cc}/gu, "_")
      .trim()
      .slice(0, MOST_KEY) || "_";
  let column = run.columns.get(usable);
  if (column === undefined) run.columns.set(usable, (column = { step: [], value: [], time: [] }));
  column.step.push(step);
  column.value.push(value);
  column.time.push(time);
}

export function pointsOf(run: SourceRun): number {
  return [...run.columns.values()].reduce((sum, column) => sum + column.step.length, 0);
}
