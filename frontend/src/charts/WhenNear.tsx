import { useEffect, useRef, useState, type ReactNode } from "react";
import "./charts.css";

/** Charts are made this long before they scroll into view. */
const AHEAD = "400px";

/** A frame of a chart's size that becomes the chart when it first comes near the view. */
export function WhenNear({
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
