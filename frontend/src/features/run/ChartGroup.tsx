import type { ReactNode } from "react";
import { WhenNear } from "@/charts/WhenNear";
import { plural } from "@/lib/numbers";
import { Icon } from "@/ui/Icon";

/** A section of charts that folds; each chart is made when it first comes near the view. */
export function ChartGroup({
  group,
  keys,
  open,
  onOpen,
  onSeen,
  children,
}: {
  group: string;
  keys: readonly string[];
  open: boolean;
  onOpen: (open: boolean) => void;
  onSeen: (key: string) => void;
  children: (key: string) => ReactNode;
}) {
  return (
    <section className="chart-group" aria-label={`Charts of ${group}`}>
      <h2 className="chart-group-title">
        <button type="button" aria-expanded={open} onClick={() => onOpen(!open)}>
          <Icon name={open ? "chevronDown" : "chevronRight"} size={14} />
          {group} <span className="quiet">{plural(keys.length, "chart")}</span>
        </button>
      </h2>
      {open && (
        <div className="chart-grid">
          {keys.map((key) => (
            <WhenNear key={key} name={key} onNear={() => onSeen(key)}>
              {() => children(key)}
            </WhenNear>
          ))}
        </div>
      )}
    </section>
  );
}
