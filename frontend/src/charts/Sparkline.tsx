import { styleOf } from "@/tokens/series";

export interface SparkPoints {
  readonly x: readonly number[];
  readonly y: readonly number[];
}

const W = 96;
const H = 22;

/** One column shares one y scale, and x is the share of the run's budget; the line ends in a dot, or in a cross where the last value is not finite. */
export function Sparkline({
  points,
  style,
  xMax,
  yRange,
  label,
}: {
  points: SparkPoints;
  style: number;
  xMax: number;
  yRange: readonly [number, number];
  label: string;
}) {
  const [low, high] = yRange;
  const px = (x: number): number => 2 + (xMax > 0 ? x / xMax : 0) * (W - 8);
  const py = (y: number): number => H - 3 - ((y - low) / (high - low || 1)) * (H - 6);
  let path = "";
  let pen = "M";
  const ends: (readonly [number, number])[] = [];
  points.y.forEach((value, at) => {
    if (!Number.isFinite(value)) {
      pen = "M";
      return;
    }
    const [x, y] = [px(points.x[at] ?? 0), py(value)];
    ends.push([x, y]);
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  const broken = points.y.length > 0 && !Number.isFinite(points.y.at(-1) ?? NaN);
  const color = `var(${styleOf(style).token})`;
  const tip = ends.at(-1) ?? [4, H / 2];
  return (
    <svg className="sparkline" width={W} height={H} viewBox={`0 0 ${W} ${H}`} role="img" aria-label={label}>
      <path d={path} fill="none" stroke={color} strokeWidth="1.3" strokeLinejoin="round" />
      {broken ? (
        <path
          d={`M${tip[0] - 3} ${tip[1] - 3}l6 6m0-6l-6 6`}
          stroke="var(--bad-graphic)"
          strokeWidth="1.6"
          fill="none"
        />
      ) : (
        ends.length > 0 && <circle cx={tip[0]} cy={tip[1]} r="2" fill={color} />
      )}
    </svg>
  );
}
