import { useSyncExternalStore } from "react";
import { formatValue } from "@/lib/numbers";
import { Swatch } from "@/ui/Swatch";
import type { Reading } from "./Plot";
import type { SceneSource, XKind } from "./scene";
import { formatX } from "./sentences";

/** Legends at the line ends: marker, name and last value, in the order of the values; at the cursor, its values. */
export function LineEnds({
  source,
  height,
  reading,
  kind,
}: {
  source: SceneSource;
  height: number;
  reading: Reading | null;
  kind: XKind;
}) {
  const scene = useSyncExternalStore(source.subscribe, source.get);
  const ends = scene.lines
    .map((line, at) => ({ line, value: reading === null ? last(line.y) : (reading.values[at] ?? NaN) }))
    .sort((a, b) => rank(b.value) - rank(a.value));
  return (
    <div className="line-ends" style={{ maxHeight: height }}>
      <p>{reading === null ? "Last value" : `At ${formatX(reading.x, kind)}`}</p>
      <ul>
        {ends.map(({ line, value }) => (
          <li key={`${line.style}:${line.label}`}>
            <Swatch index={line.style} />
            <b title={line.label}>{line.label}</b>
            <span>{Number.isNaN(value) ? "–" : formatValue(value)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
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
