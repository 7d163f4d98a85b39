import type { RecipeMetric, SeriesInfo } from "@/api/types";
import { Better } from "@/charts/ChartFrame";
import { formatBytes, formatInteger, formatValue, fromWire } from "@/lib/numbers";

/** What a run said once is a value, not a curve. */
export function SingleValues({
  items,
  metrics,
}: {
  items: readonly SeriesInfo[];
  metrics: readonly RecipeMetric[];
}) {
  if (items.length === 0) return null;
  return (
    <section className="chart-group" aria-label="Single values">
      <h2 className="chart-group-title single-title">Single values</h2>
      <div className="card table-scroll single-values">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Metric</th>
              <th scope="col" className="number">
                Value
              </th>
              <th scope="col">Unit</th>
              <th scope="col" className="number">
                At step
              </th>
            </tr>
          </thead>
          <tbody>
            {items.map((item) => {
              const metric = metrics.find((one) => one.key === item.key);
              return (
                <tr key={item.key} title={metric?.help}>
                  <th scope="row">{item.key}</th>
                  <td className="number">{valueText(item, metric?.unit ?? "")}</td>
                  <td className="second">
                    {metric?.unit === "bytes" ? "" : metric?.unit}
                    {metric?.goal !== null && metric?.goal !== undefined && <Better goal={metric.goal} />}
                  </td>
                  <td className="number second">
                    {item.last_step === null ? "–" : formatInteger(item.last_step)}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function valueText(item: SeriesInfo, unit: string): string {
  const value = fromWire(item.last);
  if (value === Infinity && item.key.endsWith("_to_target")) return "did not reach";
  return unit === "bytes" && Number.isFinite(value) ? formatBytes(value) : formatValue(value);
}
