/**
 * The pure half of the live protocol: one run's state and what a message does to it.
 * Order key = (epoch, seq); a frame is applied, dropped, or answered by subscribing again. Nothing else is possible.
 */

import { appendPoints, columnsOf, emptyColumns, type Columns } from "./columns";
import type { LogLine, PointsFrame, RunProgress } from "./frames";

export interface Cursor {
  readonly epoch: number;
  readonly seq: number;
}

export interface RunLive {
  /** null until the first snapshot. */
  readonly cursor: Cursor | null;
  readonly series: ReadonlyMap<string, Columns>;
  readonly logs: readonly LogLine[];
  readonly progress: RunProgress | null;
  /** Step from which an attempt resumed, by epoch. */
  readonly resumes: ReadonlyMap<number, number>;
  /** Points that arrived in deltas; says how many a catch-up brought. */
  readonly received: number;
}

export type RunMessage =
  | { readonly type: "frame"; readonly frame: PointsFrame }
  | { readonly type: "head"; readonly epoch: number; readonly seq: number }
  | { readonly type: "resync" };

export interface Step {
  readonly state: RunLive;
  /** "resubscribe": send sub again with since = state.cursor. */
  readonly next: "applied" | "dropped" | "resubscribe";
}

const MAX_LOG_LINES = 5_000;

export const emptyRunLive: RunLive = {
  cursor: null,
  series: new Map(),
  logs: [],
  progress: null,
  resumes: new Map(),
  received: 0,
};

export function reduceRun(state: RunLive, message: RunMessage): Step {
  if (message.type === "resync") return { state, next: "resubscribe" };
  if (message.type === "head")
    return { state, next: isBehind(state.cursor, message) ? "resubscribe" : "dropped" };
  return reduceFrame(state, message.frame);
}

function isBehind(cursor: Cursor | null, head: Cursor): boolean {
  if (cursor === null) return false;
  return head.epoch > cursor.epoch || (head.epoch === cursor.epoch && head.seq > cursor.seq);
}

function reduceFrame(state: RunLive, frame: PointsFrame): Step {
  const { cursor } = state;
  if (frame.type === "snapshot") {
    const older =
      cursor !== null &&
      (frame.epoch < cursor.epoch || (frame.epoch === cursor.epoch && frame.to < cursor.seq));
    return older ? { state, next: "dropped" } : { state: applySnapshot(state, frame), next: "applied" };
  }
  if (cursor === null) return { state, next: "resubscribe" };
  if (frame.epoch < cursor.epoch) return { state, next: "dropped" };
  if (frame.epoch > cursor.epoch) return { state, next: "resubscribe" };
  if (frame.to <= cursor.seq) return { state, next: "dropped" };
  if (frame.from !== cursor.seq + 1) return { state, next: "resubscribe" };
  return { state: applyDelta(state, frame), next: "applied" };
}

function applySnapshot(state: RunLive, frame: PointsFrame): RunLive {
  return {
    cursor: { epoch: frame.epoch, seq: frame.to },
    series: new Map([...frame.series].map(([key, points]) => [key, columnsOf(points)])),
    logs: mergeLogs(state.logs, frame.logs),
    progress: frame.progress ?? state.progress,
    resumes: withResume(state.resumes, frame),
    received: state.received,
  };
}

function applyDelta(state: RunLive, frame: PointsFrame): RunLive {
  const series = new Map(state.series);
  let received = state.received;
  for (const [key, points] of frame.series) {
    series.set(key, appendPoints(series.get(key) ?? emptyColumns, points));
    received += points.step.length;
  }
  return {
    cursor: { epoch: frame.epoch, seq: frame.to },
    series: frame.series.size > 0 ? series : state.series,
    logs: mergeLogs(state.logs, frame.logs),
    progress: frame.progress ?? state.progress,
    resumes: withResume(state.resumes, frame),
    received,
  };
}

function withResume(resumes: ReadonlyMap<number, number>, frame: PointsFrame): ReadonlyMap<number, number> {
  if (frame.resumeStep === null || resumes.get(frame.epoch) === frame.resumeStep) return resumes;
  return new Map(resumes).set(frame.epoch, frame.resumeStep);
}

/** Lines are numbered without gaps, so merging is by number and a repeated line changes nothing. */
export function mergeLogs(have: readonly LogLine[], more: readonly LogLine[]): readonly LogLine[] {
  if (more.length === 0) return have;
  const last = have.at(-1);
  const first = more[0];
  if (last === undefined) return more.slice(-MAX_LOG_LINES);
  if (first !== undefined && first.n > last.n) return [...have, ...more].slice(-MAX_LOG_LINES);
  const byNumber = new Map<number, LogLine>();
  for (const line of have) byNumber.set(line.n, line);
  for (const line of more) byNumber.set(line.n, line);
  return [...byNumber.values()].sort((a, b) => a.n - b.n).slice(-MAX_LOG_LINES);
}
