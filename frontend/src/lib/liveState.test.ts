import { describe, expect, it } from "vitest";
import { viewOf } from "./columns";
import { decodeFrame, encodeFrame, FrameError, type PointsFrame } from "./frames";
import { emptyRunLive, reduceRun, type RunLive, type RunMessage } from "./liveState";

/** A small deterministic generator (mulberry32), so that a failing case can be run again by its number. */
function generator(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Batch {
  epoch: number;
  seq: number;
}

/** What the server holds: contiguous batches per epoch, each with one point of each key and one log line. */
class Server {
  readonly batches: Batch[] = [];
  epoch = 1;
  private seq = 0;

  write(): Batch {
    this.seq += 1;
    const batch = { epoch: this.epoch, seq: this.seq };
    this.batches.push(batch);
    return batch;
  }

  newEpoch(): void {
    this.epoch += 1;
    this.seq = 0;
  }

  frame(type: "snapshot" | "delta", from: number, to: number, epoch = this.epoch): PointsFrame {
    const shown =
      type === "snapshot"
        ? this.batches.filter((batch) => batch.epoch < epoch || batch.seq <= to)
        : this.batches.filter((batch) => batch.epoch === epoch && batch.seq >= from && batch.seq <= to);
    const numbers = shown.map((batch) => this.batches.indexOf(batch));
    const points = {
      step: Float64Array.from(numbers),
      value: Float64Array.from(numbers, (n) => Math.sin(n)),
      time: Float64Array.from(numbers, (n) => 1000 + n),
    };
    const logs = numbers.map((n) => ({
      n,
      time: n,
      epoch,
      level: "info",
      stream: "log",
      message: `line ${n}`,
    }));
    const progress = { step: numbers.at(-1) ?? 0, total: 100, note: "" };
    return {
      type,
      run: "r_1",
      epoch,
      from,
      to,
      resumeStep: null,
      series: new Map([
        ["train/loss", points],
        ["eval/loss", points],
      ]),
      logs,
      progress,
    };
  }

  /** The answer to `sub` with `since`: deltas while the epoch is the same, a snapshot otherwise. */
  answer(since: RunLive["cursor"], random: () => number): PointsFrame {
    return since !== null && since.epoch === this.epoch && since.seq < this.seq && random() < 0.7
      ? this.frame("delta", since.seq + 1, this.seq)
      : this.frame("snapshot", 1, this.seq);
  }

  head(): RunMessage {
    return { type: "head", epoch: this.epoch, seq: this.seq };
  }
}

function summary(state: RunLive): unknown {
  return {
    cursor: state.cursor,
    series: [...state.series].map(([key, columns]) => [
      key,
      [...viewOf(columns).step],
      [...viewOf(columns).value],
    ]),
    logs: state.logs.map((line) => line.message),
    progress: state.progress,
  };
}

function play(seed: number): { got: RunLive; server: Server } {
  const random = generator(seed);
  const server = new Server();
  let state = emptyRunLive;
  const deliver = (message: RunMessage): void => {
    const step = reduceRun(state, message);
    state = step.state;
    if (step.next === "resubscribe" && random() < 0.8) {
      state = reduceRun(state, { type: "frame", frame: server.answer(state.cursor, random) }).state;
    }
  };
  const late: PointsFrame[] = [];
  deliver({ type: "frame", frame: server.frame("snapshot", 1, 0) });
  for (let tick = 0; tick < 60; tick += 1) {
    if (random() < 0.04) {
      server.newEpoch();
      if (random() < 0.5) deliver({ type: "frame", frame: server.frame("snapshot", 1, 0) });
    }
    const batch = server.write();
    const frame = server.frame("delta", batch.seq, batch.seq);
    const fate = random();
    if (fate < 0.15) continue;
    if (fate < 0.3) {
      late.push(frame);
      continue;
    }
    deliver({ type: "frame", frame });
    if (fate < 0.45) deliver({ type: "frame", frame });
    if (late.length > 0 && random() < 0.5) {
      const held = late.pop();
      if (held !== undefined) deliver({ type: "frame", frame: held });
    }
    if (random() < 0.05) deliver({ type: "resync" });
  }
  for (let repair = 0; repair < 50; repair += 1) deliver(server.head());
  return { got: state, server };
}

describe("reducing a run's frames", () => {
  it.each(Array.from({ length: 200 }, (_, seed) => seed))(
    "ends equal to the server after drops, duplicates and reordering, case %d",
    (seed) => {
      const { got, server } = play(seed);
      const whole = reduceRun(emptyRunLive, {
        type: "frame",
        frame: server.frame("snapshot", 1, server.batches.at(-1)?.seq ?? 0),
      });
      expect(summary(got)).toEqual(summary(whole.state));
    },
  );

  it("asks again on a gap and applies nothing", () => {
    const server = new Server();
    for (let i = 0; i < 5; i += 1) server.write();
    const start = reduceRun(emptyRunLive, { type: "frame", frame: server.frame("snapshot", 1, 2) }).state;
    const step = reduceRun(start, { type: "frame", frame: server.frame("delta", 4, 5) });
    expect(step.next).toBe("resubscribe");
    expect(step.state).toBe(start);
  });

  it("does not touch an older state when a newer one is made from it", () => {
    const server = new Server();
    for (let i = 0; i < 4; i += 1) server.write();
    const a = reduceRun(emptyRunLive, { type: "frame", frame: server.frame("snapshot", 1, 2) }).state;
    const b = reduceRun(a, { type: "frame", frame: server.frame("delta", 3, 3) }).state;
    const c = reduceRun(a, { type: "frame", frame: server.frame("delta", 3, 4) }).state;
    const steps = [a, b, c].map((state) => {
      const columns = state.series.get("train/loss");
      return columns === undefined ? [] : [...viewOf(columns).step];
    });
    expect(steps).toEqual([
      [0, 1],
      [0, 1, 2],
      [0, 1, 2, 3],
    ]);
  });
});

describe("SRC1", () => {
  const server = new Server();
  server.write();
  server.write();
  const frame = server.frame("delta", 1, 2);

  it("decodes what was encoded", () => {
    expect(decodeFrame(encodeFrame(frame))).toEqual(frame);
  });

  it("aligns the columns to eight bytes", () => {
    expect((8 + new DataView(encodeFrame(frame)).getUint32(4, true)) % 8).toBe(0);
  });

  it("keeps NaN and infinities", () => {
    const odd = new Float64Array([NaN, Infinity, -Infinity]);
    const points = { step: odd, value: odd, time: odd };
    const back = decodeFrame(encodeFrame({ ...frame, series: new Map([["k", points]]) }));
    expect([...(back.series.get("k")?.value ?? [])]).toEqual([NaN, Infinity, -Infinity]);
  });

  it.each([new ArrayBuffer(0), new ArrayBuffer(16), encodeFrame(frame).slice(0, -8)])(
    "refuses what is not a whole frame",
    (broken) => {
      expect(() => decodeFrame(broken)).toThrow(FrameError);
    },
  );
});
