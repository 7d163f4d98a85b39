import { formatConfigNumber } from "@/lib/numbers";
import type { Json } from "@/lib/paths";
import { Swatch } from "@/ui/Swatch";
import type { Arm, DiffRow } from "./arms";

function text(value: Json | undefined): string {
  if (value === undefined) return "–";
  if (typeof value === "number") return formatConfigNumber(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Only the values in which the arms differ. */
export function DiffTable({ arms, rows }: { arms: readonly Arm[]; rows: readonly DiffRow[] }) {
  return (
    <section className="card table-scroll" aria-label="Config differences">
      <header className="card-head">
        <h3>Config differences</h3>
        <span className="quiet">
          {rows.length === 0 ? "The specs are the same." : "Values that all arms share are left out."}
        </span>
      </header>
      {rows.length > 0 && (
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Value</th>
              {arms.map((arm) => (
                <th key={arm.hash} scope="col">
                  <Swatch index={arm.style} /> {arm.label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.path}>
                <th scope="row" className="mono">
                  {row.path}
                </th>
                {row.values.map((value, at) => (
                  <td key={arms[at]?.hash ?? at} className="mono">
                    {text(value)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
