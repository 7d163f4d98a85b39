/**
 * Brings a source's run here: one external run, however often it is imported. Of each series only the points that are
 * not there yet are sent, so an import that broke off is completed by importing again.
 */

import { endRun, makeExternalRun, sendPoints, takeOver, type PointColumn } from "@/api/external";
import { ApiError } from "@/api/http";
import type { Run } from "@/api/types";
import { fromWire } from "@/lib/numbers";
import { randomKey } from "@/lib/randomKey";
import { BadSource, type Column, type SourceRun } from "./source";

const BATCH_POINTS = 10_000;
const BUSY_TRIES = 30;
const BUSY_PAUSE_MS = 1_000;

export interface Pushed {
  readonly run: string;
  readonly newPoints: number;
}

export async function push(org: string, project: string, kind: string, source: SourceRun): Promise<Pushed> {
  const tags = { "import.source": kind, "import.id": source.id.slice(0, 200) };
  const name = source.name.slice(0, 200);
  const key = `import-web-${hashed(`${org}/${project}\n${kind}\n${source.id}`)}`;
  const run = await patiently(() => makeExternalRun(org, project, { name, tags }, key));
  const fresh = newColumns(source, run);
  const points = fresh.reduce((sum, column) => sum + column.step.length, 0);
  if (points > 0) {
    const epoch = await patiently(() => takeOver(run.id, `import-${randomKey()}`));
    let seq = 0;
    for (const batch of batchesOf(fresh, BATCH_POINTS)) {
      seq += 1;
      const number = seq;
      await patiently(() => sendPoints(run.id, epoch, number, batch));
    }
  }
  if (points > 0 || run.state === "RUNNING") await patiently(() => endRun(run.id, "SUCCEEDED"));
  return { run: run.id, newPoints: points };
}

/** Points that are not here yet. Raises BadSource when what is here is not the beginning of the source. */
export function newColumns(source: SourceRun, run: Pick<Run, "metrics">): PointColumn[] {
  return [...source.columns].flatMap(([key, column]) => {
    const here = run.metrics[key];
    const n = here?.n ?? 0;
    if (here !== undefined && n > 0 && !continues(column, n, fromWire(here.last), here.last_step)) {
      throw new BadSource(
        `${key}: the ${n} points imported earlier are not the first ones of the file any more. Import into another project.`,
      );
    }
    if (n >= column.step.length) return [];
    return [
      {
        key,
        step: column.step.slice(n),
        value: column.value.slice(n).map(onWire),
        time: column.time.slice(n),
      },
    ];
  });
}

function continues(column: Column, n: number, last: number, lastStep: number | null): boolean {
  return n <= column.step.length && Object.is(column.value[n - 1], last) && column.step[n - 1] === lastStep;
}

function onWire(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}

/** Columns cut so that no batch has more points than `most`. */
export function batchesOf(columns: readonly PointColumn[], most: number): PointColumn[][] {
  const batches: PointColumn[][] = [];
  let batch: PointColumn[] = [];
  let room = most;
  for (const { key, step, value, time } of columns) {
    for (let from = 0; from < step.length;) {
      const to = Math.min(step.length, from + room);
      batch.push({
        key,
        step: step.slice(from, to),
        value: value.slice(from, to),
        time: time.slice(from, to),
      });
      room -= to - from;
      from = to;
      if (room > 0) continue;
      batches.push(batch);
      batch = [];
      room = most;
    }
  }
  return batch.length > 0 ? [...batches, batch] : batches;
}

/** Waits where the server asks for it. */
async function patiently<T>(act: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 429 || tries >= BUSY_TRIES) throw error;
      await new Promise((resolve) => window.setTimeout(resolve, BUSY_PAUSE_MS));
    }
  }
}

/** 64 bits of FNV-1a: tells sources apart, keeps nothing secret, and works where crypto.subtle does not. */
function hashed(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, "0");
}
