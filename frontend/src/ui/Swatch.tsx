import { styleOf, type Marker } from "@/tokens/series";

/** Colour, dash and marker of a series, as in its line. */
export function Swatch({ index, width = 26 }: { index: number; width?: number }) {
  const style = styleOf(index);
  const color = `var(${style.token})`;
  return (
    <svg
      className="swatch"
      width={width}
      height="12"
      viewBox={`0 0 ${width} 12`}
      aria-hidden="true"
      focusable="false"
    >
      <line
        x1="0"
        x2={width}
        y1="6"
        y2="6"
        stroke={color}
        strokeWidth="1.8"
        strokeDasharray={style.dash.join(" ")}
      />
      <g transform={`translate(${width / 2} 6)`}>
        <MarkerShape marker={style.marker} color={color} />
      </g>
    </svg>
  );
}

export function MarkerShape({ marker, color, size = 4 }: { marker: Marker; color: string; size?: number }) {
  const open = { fill: "var(--surface)", stroke: color, strokeWidth: 1.6 };
  const bar = { fill: "none", stroke: color, strokeWidth: 2 };
  const s = size;
  switch (marker) {
    case "circle":
      return <circle r={s} fill={color} />;
    case "square":
      return <rect x={-s} y={-s} width={2 * s} height={2 * s} fill={color} />;
    case "triangle-up":
      return <path d={`M0 ${-s * 1.15}L${s * 1.15} ${s}H${-s * 1.15}Z`} fill={color} />;
    case "triangle-down":
      return <path d={`M0 ${s * 1.15}L${s * 1.15} ${-s}H${-s * 1.15}Z`} fill={color} />;
    case "diamond":
      return <path d={`M0 ${-s * 1.25}L${s * 1.25} 0L0 ${s * 1.25}L${-s * 1.25} 0Z`} fill={color} />;
    case "plus":
      return <path d={`M0 ${-s}V${s}M${-s} 0H${s}`} {...bar} />;
    case "cross":
      return (
        <path
          d={`M${-s * 0.8} ${-s * 0.8}L${s * 0.8} ${s * 0.8}M${s * 0.8} ${-s * 0.8}L${-s * 0.8} ${s * 0.8}`}
          {...bar}
        />
      );
    case "open-circle":
      return <circle r={s - 0.4} {...open} />;
    case "open-square":
      return <rect x={-s + 0.6} y={-s + 0.6} width={2 * s - 1.2} height={2 * s - 1.2} {...open} />;
    case "open-diamond":
      return <path d={`M0 ${-s * 1.15}L${s * 1.15} 0L0 ${s * 1.15}L${-s * 1.15} 0Z`} {...open} />;
  }
}
