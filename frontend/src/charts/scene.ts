/** What a chart shows, as plain data outside React. A scene is made anew for every change and drawn once a frame. */

/** `series`: the values of another series at the same steps. */
export type XKind = "step" | "relative" | "time" | "series";

export interface SceneLine {
  readonly label: string;
  /** Place in the fixed series order. */
  readonly style: number;
  readonly x: ArrayLike<number>;
  /** What the line follows: smoothed when smoothing is on. */
  readonly y: ArrayLike<number>;
  /** The raw values behind a smoothed line. */
  readonly raw: ArrayLike<number> | null;
  readonly band: { readonly lo: ArrayLike<number>; readonly hi: ArrayLike<number> } | null;
}

export interface SceneMark {
  readonly x: number;
  readonly label: string;
}

export interface NonFinite {
  readonly x: number;
  readonly text: string;
}

export interface Scene {
  readonly lines: readonly SceneLine[];
  readonly nonFinite: readonly NonFinite[];
  readonly nonFiniteCount: number;
  readonly marks: readonly SceneMark[];
  /** Points at most behind each drawn pixel bucket; 1 = every point is drawn. */
  readonly perBucket: number;
  readonly xRange: readonly [number, number] | null;
}

export const emptyScene: Scene = {
  lines: [],
  nonFinite: [],
  nonFiniteCount: 0,
  marks: [],
  perBucket: 1,
  xRange: null,
};

/** Where a chart reads what it shows. */
export interface Scenes {
  readonly get: () => Scene;
  readonly subscribe: (listener: () => void) => () => void;
}

/** The same scenes without the lines that are hidden; a scene is filtered once. */
export function withoutLines(source: Scenes, hidden: ReadonlySet<string>): Scenes {
  if (hidden.size === 0) return source;
  let [from, shown]: [Scene | null, Scene] = [null, emptyScene];
  return {
    subscribe: source.subscribe,
    get: () => {
      const scene = source.get();
      if (scene !== from) {
        from = scene;
        shown = { ...scene, lines: scene.lines.filter((line) => !hidden.has(line.label)) };
      }
      return shown;
    },
  };
}

/** Holds the newest scene and tells charts that there is one; charts draw it when they next draw. */
export class SceneSource implements Scenes {
  private scene: Scene = emptyScene;
  private readonly listeners = new Set<() => void>();

  get = (): Scene => this.scene;

  set(scene: Scene): void {
    this.scene = scene;
    this.listeners.forEach((listener) => listener());
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

/** One redraw per frame for all charts of the page. */
const waiting = new Set<() => void>();
let frame: number | null = null;

export function drawSoon(draw: () => void): void {
  waiting.add(draw);
  frame ??= requestAnimationFrame(() => {
    frame = null;
    const due = [...waiting];
    waiting.clear();
    due.forEach((one) => one());
  });
}

export function forgetDraw(draw: () => void): void {
  waiting.delete(draw);
}
