/** CSV and JSON lines: a row a step, a column a metric; `run` names a column that tells runs apart. Pure. */

import { addPoint, BadSource, newRun, type SourceRun } from "./source";

const STEP_NAMES = ["step", "_step", "global_step", "iteration", "epoch"];
const TIME_NAMES = ["time", "timestamp", "_timestamp", "wall_time"];
const RUN_NAMES = ["run", "run_id", "run_name"];
/** Seconds since 1970 are below this until the year 5138; what is larger is milliseconds. */
const SECONDS_BELOW = 1e11;

type Row = ReadonlyMap<string, unknown>;

export interface TableFile {
  /** Name, with folders where they are known. */
  readonly path: string;
  readonly text: string;
  /** Seconds since 1970, for rows without a time. */
  readonly writtenAt: number;
}

/** The runs of a file. Raises BadSource with line and column. */
export function readTable(file: TableFile): SourceRun[] {
  const text = file.text.replace(/^\ufeff/, "");
  const rows = /\.(jsonl|ndjson)$/i.test(file.path) ? jsonRows(text) : csvRows(text);
  const runs = new Map<string, SourceRun>();
  const counts = new Map<string, number>();
  const stem = (file.path.split("/").at(-1) ?? "").replace(/\.[^.]+$/, "");
  let own: string | undefined;
  for (const [line, row] of rows) {
    const named = (names: readonly string[]): string | undefined => names.find((name) => row.has(name));
    const [stepName, timeName, runName] = [named(STEP_NAMES), named(TIME_NAMES), named(RUN_NAMES)];
    own ??= runName ?? "";
    if (own !== "" && runName !== own) throw new BadSource(`Line ${line}: there is no ${own}.`);
    const label = own === "" ? "" : String(row.get(own));
    let run = runs.get(label);
    if (run === undefined) {
      run = newRun(label === "" ? file.path : `${file.path}#${label}`, label === "" ? stem : label);
      runs.set(label, run);
    }
    const count = counts.get(label) ?? 0;
    counts.set(label, count + 1);
    const step = stepName === undefined ? count : wholeStep(row.get(stepName), line, stepName);
    const time = timeName === undefined ? file.writtenAt : timeOf(row.get(timeName), line, timeName);
    for (const [column, cell] of row) {
      if (column === stepName || column === timeName || column === runName) continue;
      const value = numberOf(cell);
      if (value !== null) addPoint(run, column, step, value, time);
    }
  }
  const found = [...runs.values()];
  if (found.length === 0) throw new BadSource("The file has no rows.");
  if (found.every((run) => run.columns.size === 0)) throw new BadSource("No column of the file has numbers.");
  return found;
}

/** Text is no metric, and an empty cell is no value. */
function numberOf(cell: unknown): number | null {
  if (typeof cell === "number") return cell;
  if (typeof cell === "boolean") return Number(cell);
  if (typeof cell !== "string" || cell.trim() === "") return null;
  const special: Readonly<Record<string, number>> = {
    nan: NaN,
    inf: Infinity,
    infinity: Infinity,
    "-inf": -Infinity,
    "-infinity": -Infinity,
  };
  const word = cell.trim().toLowerCase();
  if (word in special) return special[word] ?? NaN;
  const value = Number(word);
  return Number.isNaN(value) ? null : value;
}

function wholeStep(cell: unknown, line: number, name: string): number {
  const step = numberOf(cell);
  if (step === null || !Number.isSafeInteger(step))
    throw new BadSource(`Line ${line}, column ${name}: “${shown(cell)}” is not a whole step.`);
  return step;
}

function timeOf(cell: unknown, line: number, name: string): number {
  const number = numberOf(cell);
  if (number !== null && Number.isFinite(number))
    return Math.abs(number) > SECONDS_BELOW ? number / 1000 : number;
  const at = typeof cell === "string" ? Date.parse(cell) : NaN;
  if (Number.isNaN(at))
    throw new BadSource(
      `Line ${line}, column ${name}: “${shown(cell)}” is not a time. Expected seconds, milliseconds or ISO 8601.`,
    );
  return at / 1000;
}

function shown(cell: unknown): string {
  return (typeof cell === "string" ? cell : JSON.stringify(cell)).slice(0, 40);
}

function* jsonRows(text: string): Generator<[number, Row]> {
  let line = 0;
  for (const part of text.split("\n")) {
    line += 1;
    if (part.trim() === "") continue;
    let row: unknown;
    try {
      // Python writes NaN and Infinity, which JSON does not have.
      row = JSON.parse(part.replace(/(?<=[:[,]\s*)(-?Infinity|NaN)(?=\s*[,\]}])/g, '"$1"'));
    } catch {
      throw new BadSource(`Line ${line} is not JSON.`);
    }
    if (typeof row !== "object" || row === null || Array.isArray(row))
      throw new BadSource(`Line ${line}: expected an object.`);
    yield [line, new Map(flat(row as Readonly<Record<string, unknown>>, ""))];
  }
}

function* flat(row: Readonly<Record<string, unknown>>, prefix: string): Generator<[string, unknown]> {
  for (const [name, value] of Object.entries(row)) {
    const path = prefix === "" ? name : `${prefix}/${name}`;
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      yield* flat(value as Readonly<Record<string, unknown>>, path);
    else yield [path, value];
  }
}

function* csvRows(text: string): Generator<[number, Row]> {
  const end = text.indexOf("\n");
  const first = end < 0 ? text : text.slice(0, end);
  const separator = [",", ";", "\t"].reduce((best, one) =>
    first.split(one).length > first.split(best).length ? one : best,
  );
  let names: string[] | null = null;
  for (const [line, cells] of records(text, separator)) {
    if (names === null) names = cells;
    else if (cells.length !== names.length)
      throw new BadSource(`Line ${line} has ${cells.length} fields, the first line ${names.length}.`);
    else yield [line, new Map(names.map((name, at) => [name, cells[at]]))];
  }
}

/** Records of a CSV file with the line on which each begins; quotes may hold separators, line ends and doubled quotes. */
function* records(text: string, separator: string): Generator<[number, string[]]> {
  let [at, line] = [0, 1];
  while (at < text.length) {
    const began = line;
    const cells: string[] = [];
    for (;;) {
      let cell: string;
      if (text[at] === '"') {
        cell = "";
        for (;;) {
          const close = text.indexOf('"', at + 1);
          if (close < 0) throw new BadSource(`Line ${began}: a quote is never closed.`);
          cell += text.slice(at + 1, close);
          at = close + 1;
          if (text[at] !== '"') break;
          cell += '"';
        }
        line += cell.split("\n").length - 1;
      } else {
        let stop = at;
        while (stop < text.length && text[stop] !== separator && text[stop] !== "\n") stop += 1;
        cell = text.slice(at, stop).replace(/\r$/, "");
        at = stop;
      }
      cells.push(cell);
      if (text[at] === "\r") at += 1;
      if (text[at] !== separator) break;
      at += 1;
    }
    if (at < text.length && text[at] !== "\n")
      throw new BadSource(`Line ${line}: expected a separator after the quote.`);
    at += 1;
    line += 1;
    if (cells.length > 1 || cells[0] !== "") yield [began, cells];
  }
}
