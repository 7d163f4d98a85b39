import { useSyncExternalStore } from "react";
import { formatValue } from "@/lib/numbers";
import { Swatch } from "@/ui/Swatch";
import type { Scenes, XKind } from "./scene";
import { formatX } from "./sentences";

/**
 * Legends at the line ends: marker, name and last value, in the order of the values; at the cursor, its values.
 * A line under the pointer stands out; a click shows it alone, Shift click hides it.
 */
export function LineEnds({
  source,
  height,
  reading,
  kind,
  hidden,
  onHidden,
  onFocus,
}: {
  /** All lines, also those that are hidden. */
  source: Scenes;
  height: number;
  /** Values by label. */
  reading: {
    readonly x: number;
    readonly of: ReadonlyMap<string, number | null>;
    readonly pinned: boolean;
  } | null;
  kind: XKind;
  hidden: ReadonlySet<string>;
  onHidden: (hidden: ReadonlySet<string>) => void;
  onFocus: (label: string | null) => void;
}) {
  const scene = useSyncExternalStore(source.subscribe, source.get);
  const ends = scene.lines
    .map((line) => ({
      line,
      value: reading === null ? last(line.y) : (reading.of.get(line.label) ?? NaN),
    }))
    .sort((a, b) => rank(b.value) - rank(a.value));
  const shared = sharedStart(scene.lines.map((line) => line.label));
  const pick = (label: string, hide: boolean): void => {
    const next = new Set(hidden);
    if (hide) {
      if (!next.delete(label)) next.add(label);
      onHidden(next.size === scene.lines.length ? new Set() : next);
      return;
    }
    const alone = scene.lines.every((line) => hidden.has(line.label) !== (line.label === label));
    onHidden(
      alone ? new Set() : new Set(scene.lines.map((line) => line.label).filter((one) => one !== label)),
    );
  };
  return (
    <div className="line-ends" style={{ maxHeight: height }}>
      <p>
        {reading === null
          ? "Last value"
          : `At ${formatX(reading.x, kind)}${reading.pinned ? ", pinned" : ""}`}
        {hidden.size > 0 && (
          <button type="button" className="line-ends-all" onClick={() => onHidden(new Set())}>
            Show {hidden.size} more
          </button>
        )}
      </p>
      <ul>
        {ends.map(({ line, value }) => (
          <li key={`${line.style}:${line.label}`}>
            <button
              type="button"
              aria-pressed={!hidden.has(line.label)}
              title={`${line.label}. Click: alone. Shift click: hide.`}
              onClick={(event) => pick(line.label, event.shiftKey)}
              onPointerEnter={() => onFocus(line.label)}
              onPointerLeave={() => onFocus(null)}
              onFocus={() => onFocus(line.label)}
              onBlur={() => onFocus(null)}
            >
              <Swatch index={line.style} />
              <b>{shared > 0 ? `…${line.label.slice(shared)}` : line.label}</b>
              <span>{Number.isNaN(value) ? "–" : formatValue(value)}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** A beginning of so many letters that all names share tells nothing and takes the room of what does. */
const LONG_START = 8;

/** Where names that begin alike begin to differ, at a word; 0 where that is early. */
export function sharedStart(names: readonly string[]): number {
  const [first = "", ...others] = names;
  if (others.length === 0) return 0;
  let end = 0;
  while (end < first.length && others.every((name) => name[end] === first[end])) end += 1;
  const word = first.slice(0, end).search(/[^\s/_,-]*$/);
  return word >= LONG_START ? word : 0;
}

function rank(value: number): number {
  return Number.isNaN(value) ? -Infinity : value;
}

function last(values: ArrayLike<number>): number {
  for (let at = values.length - 1; at >= 0; at -= 1) {
    const value = values[at];
    if (value !== undefined && Number.isFinite(value)) return value;
  }
  return NaN;
}
