import { Link } from "react-router";
import type { RecipeMetric } from "@/api/types";
import { Better } from "@/charts/ChartFrame";
import { AxisHead, IntervalDot, niceAxis } from "@/charts/IntervalAxis";
import { formatP } from "@/lib/intervals";
import { formatFixed, formatInteger, formatInterval } from "@/lib/numbers";
import { Swatch } from "@/ui/Swatch";
import type { FinalRow } from "./arms";

/** Finals against the baseline: mean with interval, the seeds as dots, the difference with its interval and p. */
export function FinalsTable({
  org,
  rows,
  metric,
  baseline,
  onBaseline,
}: {
  org: string;
  rows: readonly FinalRow[];
  metric: RecipeMetric;
  baseline: string;
  onBaseline: (hash: string) => void;
}) {
  const ends = rows.flatMap(({ interval, values }) => [
    interval.mean - (interval.halfWidth ?? 0),
    interval.mean + (interval.halfWidth ?? 0),
    ...values,
  ]);
  const axis = niceAxis(ends);
  const base = rows.find((row) => row.arm.hash === baseline);
  const steps = new Set(rows.flatMap((row) => row.lastSteps));
  const compared = rows.filter((row) => typeof row.difference?.p === "number").length;
  return (
    <section className="card" aria-label="Final values">
      <header className="card-head">
        <h3>Final values</h3>
        <span className="quiet">
          mean [95 % interval], t over seeds, small dots are the seeds.{" "}
          {compared > 0 && `Difference: paired by seed where seeds are shared, p after Holm for ${compared}.`}
        </span>
      </header>
      {steps.size > 1 && (
        <p className="compare-note">
          The values are of different steps:{" "}
          {[...steps]
            .sort((a, b) => a - b)
            .slice(0, 6)
            .map(formatInteger)
            .join(", ")}
          . They are no comparison at one budget.
        </p>
      )}
      <div className="table-scroll" role="region" aria-label="Table of final values" tabIndex={0}>
        <table className="table finals">
          <thead>
            <tr>
              <th scope="col">Arm</th>
              <th scope="col" className="number">
                n
              </th>
              <th scope="col" className="number">
                {metric.key} <span className="quiet">{metric.unit}</span>
                {metric.goal !== null && <Better goal={metric.goal} />}
              </th>
              <th scope="col">
                <AxisHead axis={axis} />
                <span className="visually-hidden">On one axis</span>
              </th>
              <th scope="col" className="number">
                against baseline
              </th>
              <th scope="col" className="number">
                p
              </th>
              <th scope="col" className="number">
                last step
              </th>
              <th scope="col">
                <span className="visually-hidden">Baseline</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <FinalLine
                key={row.arm.hash}
                org={org}
                row={row}
                axis={axis}
                base={base?.interval.mean ?? null}
                isBase={row.arm.hash === baseline}
                onBaseline={() => onBaseline(row.arm.hash)}
              />
            ))}
          </tbody>
        </table>
      </div>
      <Verdict rows={rows} metric={metric} base={base} />
    </section>
  );
}

function FinalLine({
  org,
  row,
  axis,
  base,
  isBase,
  onBaseline,
}: {
  org: string;
  row: FinalRow;
  axis: ReturnType<typeof niceAxis>;
  base: number | null;
  isBase: boolean;
  onBaseline: () => void;
}) {
  const { arm, interval, difference } = row;
  const text = formatInterval(interval.mean, interval.halfWidth);
  const range = text.lo === null ? "" : ` [${text.lo}, ${text.hi ?? ""}]`;
  const apart = difference === null ? null : formatInterval(difference.mean, difference.halfWidth);
  const bad = row.values.filter((value) => !Number.isFinite(value)).length;
  const value = interval.n === 0 ? (bad > 0 ? "NaN" : "no points yet") : text.value;
  const [only] = arm.runs;
  return (
    <tr>
      <td>
        <span className="finals-arm">
          <Swatch index={arm.style} />
          {arm.runs.length === 1 && only !== undefined ? (
            <Link to={`/o/${org}/runs/${only.id}`}>{arm.label}</Link>
          ) : (
            <b>{arm.label}</b>
          )}
        </span>
      </td>
      <td className="number">
        {interval.n}
        {interval.n < arm.runs.length && <span className="quiet"> of {arm.runs.length}</span>}
      </td>
      <td className="number">
        <b>{value}</b>
        {range} {row.live && interval.n > 0 && <span className="tag">live</span>}
        {bad > 0 && <span className="bad-text"> {bad} not finite</span>}
      </td>
      <td>
        <IntervalDot
          axis={axis}
          style={arm.style}
          mean={interval.mean}
          lo={interval.halfWidth === null ? null : interval.mean - interval.halfWidth}
          hi={interval.halfWidth === null ? null : interval.mean + interval.halfWidth}
          seeds={row.values}
          baseline={base}
          label={`${arm.label}: ${value}${range}`}
        />
      </td>
      <td className="number">
        {isBase ? (
          <span className="quiet">baseline</span>
        ) : apart === null ? (
          "–"
        ) : (
          <span title={difference?.paired === true ? "paired by seed" : "Welch, seeds are not shared"}>
            {apart.value}
            {apart.lo !== null && ` [${apart.lo}, ${apart.hi ?? ""}]`}
          </span>
        )}
      </td>
      <td className="number">{formatP(row.p)}</td>
      <td className="number second">
        {row.lastSteps.length === 0 ? "–" : formatInteger(Math.max(...row.lastSteps))}
      </td>
      <td>
        {!isBase && (
          <button type="button" className="filter" onClick={onBaseline}>
            Baseline
          </button>
        )}
      </td>
    </tr>
  );
}

/** The strongest difference in words, or that none was found. Never ranks by a single seed. */
function Verdict({
  rows,
  metric,
  base,
}: {
  rows: readonly FinalRow[];
  metric: RecipeMetric;
  base: FinalRow | undefined;
}) {
  if (base === undefined || rows.length < 2) return null;
  const tested = rows.filter((row) => row.p !== null && typeof row.difference?.halfWidth === "number");
  if (tested.length === 0) {
    return (
      <p className="compare-verdict">
        One seed an arm decides nothing. Launch more seeds to get an interval.
      </p>
    );
  }
  const [best] = [...tested].sort((a, b) => (a.p ?? 1) - (b.p ?? 1));
  if (best === undefined || best.difference === null) return null;
  const { mean, halfWidth, n } = best.difference;
  const text = formatInterval(mean, halfWidth);
  const seeds = `${n} ${best.difference.paired ? "paired seeds" : "seeds an arm"}`;
  if ((best.p ?? 1) >= 0.05) {
    return (
      <p className="compare-verdict">
        No difference found: the largest is {best.arm.label} with {text.value} [{text.lo}, {text.hi}] over{" "}
        {seeds}, p {formatFixed(best.p ?? 1, 3)}.
      </p>
    );
  }
  const size = formatInterval(Math.abs(mean), halfWidth);
  return (
    <p className="compare-verdict">
      {best.arm.label} is {mean < 0 ? "lower" : "higher"} than {base.arm.label} by {size.value} [{size.lo},{" "}
      {size.hi}] {metric.unit} over {seeds}, p {formatP(best.p)}.
    </p>
  );
}
