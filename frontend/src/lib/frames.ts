/** The binary frame `SRC1`: length, JSON header padded to 8 bytes, then little-endian float64 columns. */

import type { Points } from "./columns";

export interface LogLine {
  readonly n: number;
  readonly time: number;
  readonly epoch: number;
  readonly level: string;
  readonly stream: string;
  readonly message: string;
}

export interface RunProgress {
  readonly step: number;
  readonly total: number | null;
  readonly note: string;
}

export interface PointsFrame {
  readonly type: "snapshot" | "delta";
  readonly run: string;
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
  readonly resumeStep: number | null;
  readonly series: ReadonlyMap<string, Points>;
  readonly logs: readonly LogLine[];
  readonly progress: RunProgress | null;
}

interface Header {
  type: "snapshot" | "delta";
  run: string;
  epoch: number;
  from: number;
  to: number;
  resume_step?: number | null;
  series: { key: string; n: number }[];
  logs?: LogLine[] | null;
  progress?: RunProgress | null;
}

const MAGIC = 0x53524331;

export class FrameError extends Error {}

export function decodeFrame(buffer: ArrayBuffer): PointsFrame {
  const view = new DataView(buffer);
  if (buffer.byteLength < 8 || view.getUint32(0, false) !== MAGIC) throw new FrameError("Not an SRC1 frame.");
  const headerLength = view.getUint32(4, true);
  const bodyStart = 8 + headerLength;
  if (bodyStart > buffer.byteLength) throw new FrameError("The header is longer than the frame.");
  const text = new TextDecoder().decode(new Uint8Array(buffer, 8, headerLength));
  const header = JSON.parse(text) as Header;
  const total = header.series.reduce((sum, entry) => sum + entry.n, 0);
  if (bodyStart + total * 24 !== buffer.byteLength)
    throw new FrameError("The columns do not fill the frame.");

  let at = bodyStart;
  const column = (n: number): Float64Array => {
    const values = new Float64Array(n);
    for (let i = 0; i < n; i += 1) values[i] = view.getFloat64(at + i * 8, true);
    at += n * 8;
    return values;
  };
  const series = new Map<string, Points>();
  for (const { key, n } of header.series) {
    series.set(key, { step: column(n), value: column(n), time: column(n) });
  }
  return {
    type: header.type,
    run: header.run,
    epoch: header.epoch,
    from: header.from,
    to: header.to,
    resumeStep: header.resume_step ?? null,
    series,
    logs: header.logs ?? [],
    progress: header.progress ?? null,
  };
}

/** The inverse of decodeFrame; what the server does, kept here so that tests can make frames. */
export function encodeFrame(frame: PointsFrame): ArrayBuffer {
  const header: Header = {
    type: frame.type,
    run: frame.run,
    epoch: frame.epoch,
    from: frame.from,
    to: frame.to,
    resume_step: frame.resumeStep,
    series: [...frame.series].map(([key, points]) => ({ key, n: points.step.length })),
    logs: [...frame.logs],
    progress: frame.progress,
  };
  let text = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(text.length / 8) * 8).fill(32);
  padded.set(text);
  text = padded;
  const total = header.series.reduce((sum, entry) => sum + entry.n, 0);
  const buffer = new ArrayBuffer(8 + text.length + total * 24);
  const view = new DataView(buffer);
  view.setUint32(0, MAGIC, false);
  view.setUint32(4, text.length, true);
  new Uint8Array(buffer, 8, text.length).set(text);
  let at = 8 + text.length;
  for (const points of frame.series.values()) {
    for (const values of [points.step, points.value, points.time]) {
      for (const value of values) {
        view.setFloat64(at, value, true);
        at += 8;
      }
    }
  }
  return buffer;
}
