import type { Scores } from "@/api/types";
import { styleOf } from "@/tokens/series";
import { formatFixed } from "@/lib/numbers";

const WIDTH = 760;
const HEIGHT = 260;
const LEFT = 44;
const BOTTOM = 34;
const TOP = 10;
const RIGHT = 12;

type Corner = Scores["methods"][number]["profile"][number];

/** Steps as a path: level until a corner, then up. */
export function stepPath(
  corners: readonly Corner[],
  x: (tau: number) => number,
  y: (share: number) => number,
): string {
  const [first, ...rest] = corners;
  if (first === undefined) return "";
  const parts = [`M${x(first.tau)} ${y(first.share)}`];
  for (const corner of rest) parts.push(`H${x(corner.tau)}V${y(corner.share)}`);
  return parts.join("");
}

/** For every method the share of leaderboards on which it took at most tau times the fastest's steps. */
export function ProfileChart({ scores }: { scores: Scores }) {
  const x = (tau: number): number => LEFT + ((tau - 1) / (scores.r_max - 1)) * (WIDTH - LEFT - RIGHT);
  const y = (share: number): number => HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP);
  const [best] = scores.methods;
  const ticks = [0, 1, 2, 3].map((at) => 1 + (at * (scores.r_max - 1)) / 3);
  return (
    <section className="card profile" aria-label="Performance profile">
      <header className="card-head">
        <h2>Performance profile</h2>
        <span className="quiet">share of leaderboards within tau times the fastest</span>
      </header>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={sentence(scores)}>
        {[0, 0.25, 0.5, 0.75, 1].map((share) => (
          <g key={share}>
            <line className="profile-grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(share)} y2={y(share)} />
            <text x={LEFT - 8} y={y(share) + 4} textAnchor="end">
              {share * 100}&thinsp;%
            </text>
          </g>
        ))}
        {ticks.map((tau) => (
          <text key={tau} x={x(tau)} y={HEIGHT - 14} textAnchor="middle">
            {formatFixed(tau, Number.isInteger(tau) ? 0 : 1)}
          </text>
        ))}
        <text x={WIDTH - RIGHT} y={HEIGHT - 1} textAnchor="end" className="profile-axis">
          tau
        </text>
        {[...scores.methods].reverse().map((method) => {
          const style = styleOf(scores.methods.indexOf(method));
          return (
            <path
              key={method.method}
              d={stepPath(method.profile, x, y)}
              fill="none"
              stroke={`var(${style.token})`}
              strokeWidth="1.8"
              strokeDasharray={style.dash.join(" ")}
            >
              <title>{method.method}</title>
            </path>
          );
        })}
      </svg>
      {best !== undefined && <p className="profile-verdict">{sentence(scores)}</p>}
    </section>
  );
}

export function sentence(scores: Scores): string {
  const [best, second] = scores.methods;
  if (best === undefined) return "No method was scored.";
  if (best.score === 0) return "No method reached a target within the profile.";
  const behind = second === undefined ? "" : `, before ${second.method} with ${formatFixed(second.score, 3)}`;
  return `${best.method} scores ${formatFixed(best.score, 3)}${behind}.`;
}
