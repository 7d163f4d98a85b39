import { useEffect, useRef, useState, type ReactNode } from "react";
import { plural } from "@/lib/numbers";
import { Icon } from "@/ui/Icon";

/** Charts are made this long before they scroll into view. */
const AHEAD = "400px";

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

function WhenNear({
  name,
  onNear,
  children,
}: {
  name: string;
  onNear: () => void;
  children: () => ReactNode;
}) {
  const place = useRef<HTMLDivElement>(null);
  const [near, setNear] = useState(false);
  const tell = useRef(onNear);
  useEffect(() => {
    tell.current = onNear;
  });
  useEffect(() => {
    const node = place.current;
    if (near || node === null) return;
    const watch = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        setNear(true);
        tell.current();
      },
      { rootMargin: AHEAD },
    );
    watch.observe(node);
    return () => watch.disconnect();
  }, [near]);
  if (near) return children();
  return (
    <div className="card chart chart-later" ref={place}>
      <header className="chart-head">
        <h3>{name}</h3>
      </header>
    </div>
  );
}
