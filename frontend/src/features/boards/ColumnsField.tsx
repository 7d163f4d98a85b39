import { useState } from "react";
import type { RecipeDetail } from "@/api/types";

export const MOST_COLUMNS = 5;

/** Which metrics stand beside the rank; those that stood there when it opened come first. */
export function ColumnsField({
  metrics,
  ranked,
  chosen,
  onChange,
}: {
  metrics: RecipeDetail["metrics"];
  ranked: string;
  chosen: readonly string[];
  onChange: (chosen: string[]) => void;
}) {
  const [first] = useState(chosen);
  const listed = metrics.filter((metric) => metric.key !== ranked);
  return (
    <ul className="board-paths board-columns">
      {[
        ...listed.filter((metric) => first.includes(metric.key)),
        ...listed.filter((metric) => !first.includes(metric.key)),
      ].map((metric) => {
        const on = chosen.includes(metric.key);
        return (
          <li key={metric.key}>
            <label className="check" title={metric.help}>
              <input
                type="checkbox"
                checked={on}
                disabled={!on && chosen.length >= MOST_COLUMNS}
                onChange={() =>
                  onChange(on ? chosen.filter((key) => key !== metric.key) : [...chosen, metric.key])
                }
              />
              <span className="mono">{metric.key}</span>
              <span className="quiet">{metric.unit}</span>
            </label>
          </li>
        );
      })}
    </ul>
  );
}
