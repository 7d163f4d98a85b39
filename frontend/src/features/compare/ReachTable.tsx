import { formatFixed } from "@/lib/numbers";
import { MeanCell } from "@/ui/Quantity";
import { Swatch } from "@/ui/Swatch";
import type { ReachRow } from "./reach";

/** How much of the baseline's way each arm needs to end where it does; with an interval where every seed arrives. */
export function ReachTable({
  rows,
  baseline,
  along,
}: {
  rows: readonly ReachRow[];
  baseline: string;
  /** The x axis in words. */
  along: string;
}) {
  if (rows.length === 0) return null;
  return (
    <section className="card" aria-label="Way to the baseline's final value">
      <header className="card-head">
        <h3>Way to the baseline’s final value</h3>
        <span className="quiet">
          {along} at which an arm first reaches what {baseline} of the same seed ends with, over where that
          ends; below 1 is earlier.
        </span>
      </header>
      <div className="table-scroll" role="region" aria-label="Table of the way to the target" tabIndex={0}>
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Arm</th>
              <th scope="col">Seeds that arrive</th>
              <th scope="col" className="number">
                ratio, mean [95 % interval]
              </th>
              <th scope="col" className="number">
                by seed
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ arm, ratios, interval }) => (
              <tr key={arm.hash}>
                <td>
                  <span className="row">
                    <Swatch index={arm.style} />
                    <b>{arm.label}</b>
                  </span>
                </td>
                <td>
                  {ratios.filter(Number.isFinite).length} of {ratios.length}
                </td>
                <td className="number">
                  {interval.n === 0 ? (
                    <span className="quiet">–</span>
                  ) : (
                    <MeanCell mean={interval.mean} halfWidth={interval.halfWidth} n={interval.n} />
                  )}
                </td>
                <td className="number">
                  {ratios
                    .map((ratio) => (Number.isFinite(ratio) ? formatFixed(ratio, 2) : "never"))
                    .join(", ")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
