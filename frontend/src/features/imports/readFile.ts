/** From a chosen file to its runs, by what the file is. */

import { readEvents } from "./readEvents";
import { readTable } from "./readTable";
import { BadSource, type SourceRun } from "./source";

export type SourceKind = "table" | "tensorboard" | "archive";

export interface ReadFile {
  readonly kind: SourceKind;
  /** None for an archive, which the server reads. */
  readonly runs: readonly SourceRun[];
}

/** What a browser tab can hold with its columns. */
const MOST_BYTES = 128 * 1024 * 1024;

export function pathOf(file: File): string {
  return file.webkitRelativePath === "" ? file.name : file.webkitRelativePath;
}

/** Raises BadSource. */
export async function readFile(file: File): Promise<ReadFile> {
  const path = pathOf(file);
  if (/\.zip$/i.test(path)) return { kind: "archive", runs: [] };
  const events = /tfevents/.test(file.name);
  const table = /\.(csv|tsv|jsonl|ndjson)$/i.test(path);
  if (/\.wandb$/i.test(path))
    throw new BadSource("Offline runs of W&B are read by the command: stillroom import wandb FOLDER.");
  if (/\.parquet$/i.test(path))
    throw new BadSource("Exports of Neptune are read by the command: stillroom import neptune FOLDER.");
  if (!events && !table)
    throw new BadSource("Expected .csv, .tsv, .jsonl, a TensorBoard event file or an archive (.zip).");
  if (file.size > MOST_BYTES) {
    const command = events ? "tensorboard FOLDER" : "table FILE";
    throw new BadSource(`More than 128 MB. The command reads it: stillroom import ${command}.`);
  }
  if (events) return { kind: "tensorboard", runs: [readEvents(path, await file.arrayBuffer())] };
  const text = await file.text();
  return { kind: "table", runs: readTable({ path, text, writtenAt: file.lastModified / 1000 }) };
}
