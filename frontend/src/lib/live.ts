/**
 * The one socket of the page: subscribe, replay, follow. Points go to listeners outside React; nothing here draws.
 * A gap, a new epoch, a lost tail or a lost connection all have the same cure: subscribe again with the last cursor.
 */

import { decodeFrame, type PointsFrame } from "./frames";
import { emptyRunLive, reduceRun, type RunLive, type RunMessage } from "./liveState";

export type Topic =
  | { readonly topic: "project"; readonly org: string; readonly project: string }
  | { readonly topic: "org"; readonly org: string }
  | { readonly topic: "benchmark"; readonly id: string };

/** A run as `watch` announces it: the fields that changed, always with its id. */
export interface RunChange {
  readonly id: string;
  readonly [field: string]: unknown;
}

export interface LiveStatus {
  readonly phase: "idle" | "connecting" | "live" | "offline";
  /** When the connection was lost, in milliseconds since 1970. */
  readonly since: number | null;
  /** Age of the newest point when it arrived. */
  readonly behindS: number | null;
  /** Points that the last catch-up brought; null when there was none lately. */
  readonly caughtUp: number | null;
}

export interface RunOptions {
  readonly keys: readonly string[] | null;
  readonly maxPoints: number;
  readonly hz: number;
}

type RunListener = (state: RunLive) => void;
type WatchListener = (message: RunChange | { readonly benchmark: string }) => void;

interface RunEntry {
  readonly options: RunOptions;
  readonly listeners: Set<RunListener>;
  state: RunLive;
  /** When `sub` was last sent and not yet answered. */
  askedAt: number | null;
  headTimer: number | null;
}

interface ServerMessage {
  readonly type: string;
  readonly run?: unknown;
  readonly id?: unknown;
  readonly epoch?: unknown;
  readonly seq?: unknown;
}

const HEAD_GRACE_MS = 1_200;
const ASK_AGAIN_MS = 4_000;
const MAX_DELAY_MS = 20_000;
const SILENCE_MS = 17_000;
const CLOSE_WHEN_IDLE_MS = 5_000;

export class LiveClient {
  private socket: WebSocket | null = null;
  private attempts = 0;
  private retryTimer: number | null = null;
  private idleTimer: number | null = null;
  private lastHeard = 0;
  private offlineSince: number | null = null;
  private receivedBefore = 0;
  private readonly runs = new Map<string, RunEntry>();
  private readonly topics = new Map<
    string,
    { readonly topic: Topic; readonly listeners: Set<WatchListener> }
  >();
  private readonly statusListeners = new Set<() => void>();
  private status: LiveStatus = { phase: "idle", since: null, behindS: null, caughtUp: null };

  constructor(private readonly url: () => string) {}

  getStatus = (): LiveStatus => this.status;

  onStatus = (listener: () => void): (() => void) => {
    this.statusListeners.add(listener);
    return () => this.statusListeners.delete(listener);
  };

  /** Follows one run; the listener hears the present state at once if there is one. */
  followRun(run: string, options: RunOptions, listener: RunListener): () => void {
    let entry = this.runs.get(run);
    if (entry === undefined) {
      entry = { options, listeners: new Set(), state: emptyRunLive, askedAt: null, headTimer: null };
      this.runs.set(run, entry);
      this.subscribe(run, entry);
    } else if (entry.state.cursor !== null) {
      listener(entry.state);
    }
    entry.listeners.add(listener);
    this.connect();
    return () => {
      const present = this.runs.get(run);
      present?.listeners.delete(listener);
      if (present !== undefined && present.listeners.size === 0) {
        if (present.headTimer !== null) window.clearTimeout(present.headTimer);
        this.runs.delete(run);
        this.send({ type: "unsub", run });
        this.closeWhenIdle();
      }
    };
  }

  watch(topic: Topic, listener: WatchListener): () => void {
    const name = JSON.stringify(topic);
    let entry = this.topics.get(name);
    if (entry === undefined) {
      entry = { topic, listeners: new Set() };
      this.topics.set(name, entry);
      this.send({ type: "watch", ...topic });
    }
    entry.listeners.add(listener);
    this.connect();
    return () => {
      entry.listeners.delete(listener);
      if (entry.listeners.size === 0 && this.topics.get(name) === entry) {
        this.topics.delete(name);
        this.send({ type: "unwatch", ...topic });
        this.closeWhenIdle();
      }
    };
  }

  private connect(): void {
    if (this.idleTimer !== null) window.clearTimeout(this.idleTimer);
    this.idleTimer = null;
    if (this.socket !== null || this.retryTimer !== null) return;
    if (this.status.phase === "idle") this.setStatus({ phase: "connecting" });
    const socket = new WebSocket(this.url());
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => this.opened();
    socket.onmessage = (event: MessageEvent<unknown>) => this.heard(event.data);
    socket.onclose = () => this.lost(socket);
  }

  private opened(): void {
    this.attempts = 0;
    this.lastHeard = Date.now();
    this.receivedBefore = this.offlineSince === null ? -1 : this.totalReceived();
    this.offlineSince = null;
    this.setStatus({ phase: "live", since: null });
    for (const { topic } of this.topics.values()) this.send({ type: "watch", ...topic });
    for (const [run, entry] of this.runs) this.subscribe(run, entry);
    if (this.receivedBefore >= 0) window.setTimeout(() => this.reportCatchUp(), 2_000);
  }

  private reportCatchUp(): void {
    const points = this.totalReceived() - this.receivedBefore;
    if (points <= 0) return;
    this.setStatus({ caughtUp: points });
    window.setTimeout(() => this.setStatus({ caughtUp: null }), 6_000);
  }

  private totalReceived(): number {
    return [...this.runs.values()].reduce((sum, entry) => sum + entry.state.received, 0);
  }

  private lost(socket: WebSocket): void {
    if (this.socket !== socket) return;
    this.socket = null;
    if (this.runs.size === 0 && this.topics.size === 0) {
      this.setStatus({ phase: "idle", since: null });
      return;
    }
    this.offlineSince ??= Date.now();
    this.setStatus({ phase: "offline", since: this.offlineSince, behindS: null });
    const ceiling = Math.min(MAX_DELAY_MS, 500 * 2 ** this.attempts);
    this.attempts += 1;
    this.retryTimer = window.setTimeout(
      () => {
        this.retryTimer = null;
        this.connect();
      },
      250 + Math.random() * ceiling,
    );
  }

  /** A network that came back or a tab that woke: try now, and distrust a silent socket. */
  wake(): void {
    if (this.socket !== null && this.status.phase === "live" && Date.now() - this.lastHeard > SILENCE_MS) {
      const silent = this.socket;
      silent.close();
      this.lost(silent);
    }
    if (this.socket === null && this.retryTimer !== null) {
      window.clearTimeout(this.retryTimer);
      this.retryTimer = null;
      this.attempts = 0;
      this.connect();
    }
  }

  private closeWhenIdle(): void {
    if (this.runs.size > 0 || this.topics.size > 0 || this.idleTimer !== null) return;
    this.idleTimer = window.setTimeout(() => {
      this.idleTimer = null;
      if (this.runs.size > 0 || this.topics.size > 0) return;
      const socket = this.socket;
      this.socket = null;
      if (this.retryTimer !== null) window.clearTimeout(this.retryTimer);
      this.retryTimer = null;
      socket?.close();
      this.setStatus({ phase: "idle", since: null, behindS: null });
    }, CLOSE_WHEN_IDLE_MS);
  }

  private send(message: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private subscribe(run: string, entry: RunEntry): void {
    entry.askedAt = Date.now();
    const { keys, maxPoints, hz } = entry.options;
    this.send({ type: "sub", run, since: entry.state.cursor, keys, max_points: maxPoints, hz });
  }

  private heard(data: unknown): void {
    this.lastHeard = Date.now();
    if (data instanceof ArrayBuffer) {
      const frame = decodeFrame(data);
      this.noteDelay(frame);
      this.deliver(frame.run, { type: "frame", frame });
      return;
    }
    if (typeof data !== "string") return;
    const message = JSON.parse(data) as ServerMessage;
    if (message.type === "head" && typeof message.run === "string") {
      this.deliverHead(message.run, Number(message.epoch), Number(message.seq));
    } else if (message.type === "resync" && typeof message.run === "string") {
      this.deliver(message.run, { type: "resync" });
    } else if (message.type === "run" && typeof message.run === "object" && message.run !== null) {
      this.announce(message.run as RunChange);
    } else if (message.type === "benchmark" && typeof message.id === "string") {
      this.announce({ benchmark: message.id });
    }
  }

  private announce(message: RunChange | { readonly benchmark: string }): void {
    for (const { listeners } of this.topics.values()) listeners.forEach((listener) => listener(message));
  }

  /** A head may overtake the frame it speaks of by a moment; only a tail that stays away is asked for again. */
  private deliverHead(run: string, epoch: number, seq: number): void {
    const entry = this.runs.get(run);
    if (entry === undefined || entry.headTimer !== null) return;
    if (reduceRun(entry.state, { type: "head", epoch, seq }).next !== "resubscribe") return;
    entry.headTimer = window.setTimeout(() => {
      entry.headTimer = null;
      this.deliver(run, { type: "head", epoch, seq });
    }, HEAD_GRACE_MS);
  }

  private deliver(run: string, message: RunMessage): void {
    const entry = this.runs.get(run);
    if (entry === undefined) return;
    const step = reduceRun(entry.state, message);
    if (step.next === "applied") {
      entry.state = step.state;
      entry.askedAt = null;
      entry.listeners.forEach((listener) => listener(step.state));
    } else if (step.next === "resubscribe") {
      const waiting = entry.askedAt !== null && Date.now() - entry.askedAt < ASK_AGAIN_MS;
      if (!waiting || message.type === "resync") this.subscribe(run, entry);
    }
  }

  private noteDelay(frame: PointsFrame): void {
    if (frame.type !== "delta") return;
    let newest = -Infinity;
    for (const { time } of frame.series.values()) newest = Math.max(newest, time.at(-1) ?? -Infinity);
    if (!Number.isFinite(newest)) return;
    const age = Math.max(0, Date.now() / 1000 - newest);
    const before = this.status.behindS;
    const smooth = before === null ? age : before * 0.7 + age * 0.3;
    if (before === null || Math.abs(smooth - before) >= 0.05) this.setStatus({ behindS: smooth });
  }

  private setStatus(change: Partial<LiveStatus>): void {
    this.status = { ...this.status, ...change };
    this.statusListeners.forEach((listener) => listener());
  }
}

export const live = new LiveClient(
  () => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/live`,
);

/** Called once at start. */
export function wakeWithThePage(): void {
  window.addEventListener("online", () => live.wake());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") live.wake();
  });
}
