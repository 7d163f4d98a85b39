import "uplot/dist/uPlot.min.css";
import { useEffect, useRef, useState, useSyncExternalStore, type KeyboardEvent } from "react";
import uPlot from "uplot";
import { formatValue } from "@/lib/numbers";
import { onThemeChange, themeNow } from "@/tokens/theme";
import { pan, panEnds, pannedRange } from "./pan";
import { alignedData, rolesOf, shapeOf } from "./plotData";
import { plotOptions, type Range } from "./plotOptions";
import { drawSoon, forgetDraw, type Scene, type Scenes, type XKind } from "./scene";
import { formatX } from "./sentences";

export interface Reading {
  readonly x: number;
  /** By line; null where the line has no value there. */
  readonly values: readonly (number | null)[];
}

/** The last place of the cursor in the charts that share it, so that a key can pin it. */
const cursors = new Map<string, number>();

export function cursorOf(syncKey: string): number | null {
  return cursors.get(syncKey) ?? null;
}

/** The chart drawn inside of an element. */
const drawn = new WeakMap<Element, uPlot>();

export function plotIn(root: Element | null): uPlot | null {
  const found = root?.querySelector(".uplot");
  return found === null || found === undefined ? null : (drawn.get(found) ?? null);
}

export interface PlotProps {
  readonly source: Scenes;
  readonly name: string;
  readonly height: number;
  readonly kind: XKind;
  readonly yLog: boolean;
  readonly fromZero?: boolean;
  readonly robust?: boolean;
  readonly pin?: number | null;
  readonly onPin?: (x: number | null) => void;
  /** The line that stands out, by its label. */
  readonly focused?: string | null;
  readonly syncKey: string;
  readonly zoom: Range | null;
  readonly onZoom: (range: Range | null) => void;
  /** Called outside React for every move of the cursor. */
  readonly onReading?: (reading: Reading | null) => void;
}

/** A canvas line chart that draws the newest scene of its source once a frame, only while it is on screen. */
export function Plot({
  source,
  name,
  height,
  kind,
  yLog,
  fromZero = false,
  robust = false,
  pin = null,
  onPin,
  focused = null,
  syncKey,
  zoom,
  onZoom,
  onReading,
}: PlotProps) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const spoken = useRef<HTMLSpanElement>(null);
  const label = useRef<HTMLSpanElement>(null);
  const [yZoom, setYZoom] = useState<Range | null>(null);
  const theme = useSyncExternalStore(onThemeChange, themeNow);
  const latest = useRef({ zoom, yZoom, onZoom, onReading, robust, pin });
  useEffect(() => {
    latest.current = { zoom, yZoom, onZoom, onReading, robust, pin };
  });
  useEffect(() => panEnds(syncKey), [zoom, syncKey]);
  useEffect(() => {
    const u = plot.current;
    if (u !== null) u.setData(u.data);
  }, [zoom, yZoom, robust]);
  useEffect(() => plot.current?.redraw(false), [pin]);
  useEffect(() => {
    const place = seriesPlace(source.get(), focused);
    const u = plot.current;
    u?.setSeries(place, { focus: place !== null });
  }, [focused, source]);

  useEffect(() => {
    const host = frame.current;
    if (host === null) return;
    let shape = "";
    let visible = true;
    let dirty = true;

    const onCursor = (u: uPlot): void => {
      const index = u.cursor.idx;
      const reading = index === null || index === undefined ? null : readAt(u, index, source);
      latest.current.onReading?.(reading);
      if (reading !== null) cursors.set(syncKey, reading.x);
      if (label.current !== null) {
        const shown = reading !== null && u.root.matches(":hover, :focus-within");
        label.current.hidden = !shown;
        if (shown) {
          label.current.textContent = formatX(reading.x, kind);
          label.current.style.left = `${u.over.offsetLeft + u.valToPos(reading.x, "x")}px`;
        }
      }
    };

    const draw = (): void => {
      const width = host.clientWidth;
      if (!visible || width === 0) {
        dirty = true;
        return;
      }
      dirty = false;
      const scene = source.get();
      const data = alignedData(scene, width);
      const wanted = shapeOf(scene);
      if (plot.current === null || wanted !== shape) {
        shape = wanted;
        plot.current?.destroy();
        const view = {
          width,
          height,
          kind,
          yLog,
          fromZero,
          syncKey,
          robust: () => latest.current.robust,
          pin: () => latest.current.pin,
          zoom: () => pannedRange(syncKey) ?? latest.current.zoom,
          yZoom: () => latest.current.yZoom,
          scene: source.get,
          onZoom: (range: Range | null) => latest.current.onZoom(range),
          onYZoom: setYZoom,
          onCursor,
          onPan: (u: uPlot, from: MouseEvent) =>
            pan(u, syncKey, from, (range) => latest.current.onZoom(range)),
        };
        plot.current = new uPlot(plotOptions(view), data, host);
        drawn.set(plot.current.root, plot.current);
      } else {
        plot.current.setData(data);
      }
    };
    const soon = (): void => drawSoon(draw);
    const unsubscribe = source.subscribe(soon);
    const resized = new ResizeObserver(() => {
      const width = host.clientWidth;
      if (plot.current !== null && width > 0 && plot.current.width !== width) {
        plot.current.setSize({ width, height });
        soon();
      }
    });
    resized.observe(host);
    const seen = new IntersectionObserver(([entry]) => {
      visible = entry?.isIntersecting ?? true;
      if (visible && dirty) soon();
    });
    seen.observe(host);
    soon();
    return () => {
      unsubscribe();
      resized.disconnect();
      seen.disconnect();
      forgetDraw(draw);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [source, height, kind, yLog, fromZero, syncKey, theme]);

  const onKey = (event: KeyboardEvent): void => {
    const u = plot.current;
    if (u === null) return;
    const xs = u.data[0];
    const step = event.shiftKey ? 10 : 1;
    const now = u.cursor.idx ?? -1;
    const moves: Record<string, number> = {
      ArrowRight: now + step,
      ArrowLeft: now - step,
      Home: 0,
      End: xs.length - 1,
    };
    const wanted = moves[event.key];
    if (event.key === "0") {
      setYZoom(null);
      onZoom(null);
    }
    const range = movedRange(u, event.key);
    if (range !== null) {
      event.preventDefault();
      onZoom(range);
    }
    if (event.key === "p" && onPin !== undefined && u.cursor.idx !== null && u.cursor.idx !== undefined) {
      event.preventDefault();
      event.stopPropagation();
      onPin(pin === null ? (xs[u.cursor.idx] ?? null) : null);
    }
    if (wanted === undefined || xs.length === 0) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(xs.length - 1, wanted));
    u.setCursor({ left: u.valToPos(xs[index] ?? 0, "x"), top: 10 });
    if (spoken.current !== null) {
      const reading = readAt(u, index, source);
      const values = reading.values
        .map((value) => (value === null ? "no value" : formatValue(value)))
        .join(", ");
      spoken.current.textContent = `${formatX(reading.x, kind)}: ${values}`;
    }
  };

  return (
    <div
      className="plot"
      tabIndex={0}
      role="group"
      aria-label={`Chart of ${name}. Arrow keys read it point by point, plus and minus zoom, P pins the cursor.`}
      onKeyDown={onKey}
    >
      <div ref={frame} style={{ height }} />
      <span ref={label} className="plot-x" hidden />
      <span ref={spoken} className="visually-hidden" aria-live="polite" />
    </div>
  );
}

/** + and - zoom around the cursor, or the middle; Page Down and Page Up move on by half of what is shown. */
function movedRange(u: uPlot, key: string): Range | null {
  const { min, max } = u.scales["x"] ?? {};
  if (typeof min !== "number" || typeof max !== "number") return null;
  const index = u.cursor.idx ?? null;
  const at = index === null ? (min + max) / 2 : (u.data[0][index] ?? (min + max) / 2);
  const half = (max - min) / 2;
  if (key === "+" || key === "=") return [at - (at - min) / 2, at + (max - at) / 2];
  if (key === "-") return [at - (at - min) * 2, at + (max - at) * 2];
  if (key === "PageDown") return [min + half, max + half];
  return key === "PageUp" ? [min - half, max - half] : null;
}

function seriesPlace(scene: Scene, label: string | null): number | null {
  const line = scene.lines.findIndex((one) => one.label === label);
  const place = rolesOf(scene).findIndex((role) => role.kind === "line" && role.line === line);
  return place < 0 ? null : place + 1;
}

/** What each line is at a place, or was last before it. */
export function readingAt(scene: Scene, x: number): Reading {
  const values = scene.lines.map((line) => {
    let at = line.x.length - 1;
    while (at >= 0 && (line.x[at] ?? Infinity) > x) at -= 1;
    const value = at < 0 ? undefined : line.y[at];
    return value === undefined || !Number.isFinite(value) ? null : value;
  });
  return { x, values };
}

/** Reads each line at the cursor, or its nearest earlier point where lines have points of their own. */
function readAt(u: uPlot, index: number, source: Scenes): Reading {
  const scene = source.get();
  const roles = rolesOf(scene);
  const values = scene.lines.map((_, line) => {
    const place = roles.findIndex((role) => role.kind === "line" && role.line === line);
    const column = u.data[place + 1];
    if (column === undefined) return null;
    for (let at = index; at >= 0; at -= 1) {
      const value = column[at];
      if (value === null) return null;
      if (value !== undefined) return value;
    }
    return null;
  });
  return { x: u.data[0][index] ?? NaN, values };
}
