import "./charts.css";
import { styleOf } from "@/tokens/series";
import { formatShort } from "@/lib/numbers";
import { MarkerShape } from "@/ui/Swatch";

export const AXIS_WIDTH = 220;

export interface AxisRange {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
}

/** Steps of 1, 2 or 5, four to six of them. */
export function niceAxis(values: readonly number[]): AxisRange {
  const finite = values.filter(Number.isFinite);
  let low = Math.min(...finite);
  let high = Math.max(...finite);
  if (finite.length === 0) return { low: 0, high: 1, ticks: [] };
  if (low === high) {
    const room = Math.abs(low) * 0.1 || 1;
    low -= room;
    high += room;
  }
  const pad = (high - low) * 0.06;
  low -= pad;
  high += pad;
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => power * factor >= rough) ?? 10);
  const ticks: number[] = [];
  for (let at = Math.ceil(low / step); at * step <= high; at += 1)
    ticks.push(Number((at * step).toPrecision(12)));
  return { low, high, ticks };
}

function place(axis: AxisRange, value: number): number {
  return 6 + ((value - axis.low) / (axis.high - axis.low)) * (AXIS_WIDTH - 12);
}

export function AxisHead({ axis }: { axis: AxisRange }) {
  return (
    <svg width={AXIS_WIDTH} height="18" className="axis-head" aria-hidden="true" focusable="false">
      {axis.ticks.map((tick) => (
        <text key={tick} x={place(axis, tick)} y="13" textAnchor="middle">
          {formatShort(tick)}
        </text>
      ))}
    </svg>
  );
}

/** Mean and interval on a shared axis, the seeds as small dots, a thin line for the baseline. */
export function IntervalDot({
  axis,
  style,
  mean,
  lo,
  hi,
  seeds = [],
  baseline = null,
  label,
}: {
  axis: AxisRange;
  style: number;
  mean: number;
  lo: number | null;
  hi: number | null;
  seeds?: readonly number[];
  baseline?: number | null;
  label: string;
}) {
  const height = seeds.length > 1 ? 30 : 22;
  const middle = seeds.length > 1 ? 12 : 11;
  const { token, marker } = styleOf(style);
  const color = `var(${token})`;
  return (
    <svg width={AXIS_WIDTH} height={height} role="img" aria-label={label} className="interval-dot">
      {baseline !== null && Number.isFinite(baseline) && (
        <line
          x1={place(axis, baseline)}
          x2={place(axis, baseline)}
          y1="0"
          y2={height}
          stroke="var(--line-strong)"
          strokeWidth="1.2"
        />
      )}
      {lo !== null && hi !== null && (
        <path
          d={`M${place(axis, lo)} ${middle}H${place(axis, hi)}M${place(axis, lo)} ${middle - 4}v8M${place(axis, hi)} ${middle - 4}v8`}
          stroke={color}
          strokeWidth="1.6"
          fill="none"
        />
      )}
      {Number.isFinite(mean) && (
        <g transform={`translate(${place(axis, mean)} ${middle})`}>
          <MarkerShape marker={marker} color={color} size={4.5} />
        </g>
      )}
      {seeds.length > 1 &&
        seeds
          .filter(Number.isFinite)
          .map((value, at) => <circle key={at} cx={place(axis, value)} cy={25} r="1.5" fill={color} />)}
    </svg>
  );
}
