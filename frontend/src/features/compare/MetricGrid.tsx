import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { seriesQuery } from "@/api/runs";
import type { RecipeMetric } from "@/api/types";
import { ChartFrame } from "@/charts/ChartFrame";
import type { Range } from "@/charts/plotOptions";
import { SceneSource, type XKind } from "@/charts/scene";
import { WhenNear } from "@/charts/WhenNear";
import { Button } from "@/ui/Button";
import { ErrorNote } from "@/ui/Notes";
import type { Arm } from "./arms";
import { overlayScene } from "./compareScenes";

const POINTS = 400;

export interface GridView {
  readonly x: string;
  readonly kind: XKind;
  readonly lines: "mean" | "seeds";
  readonly smoothing: number;
  readonly log: boolean;
  readonly zoom: Range | null;
  readonly robust: boolean;
  readonly pin: number | null;
  readonly syncKey: string;
  readonly living: boolean;
}

/** Every other metric of the same arms, small: one x axis, one cursor, one zoom. */
export function MetricGrid({
  arms,
  metrics,
  view,
  onZoom,
  onPin,
  onPick,
}: {
  arms: readonly Arm[];
  metrics: readonly RecipeMetric[];
  view: GridView;
  onZoom: (range: Range | null) => void;
  onPin: (x: number | null) => void;
  /** Makes a metric the large chart. */
  onPick: (key: string) => void;
}) {
  return (
    <section aria-label="All metrics" className="chart-grid">
      {metrics.map((metric) => (
        <WhenNear key={metric.key} name={metric.key} onNear={() => undefined}>
          {() => (
            <MetricChart
              arms={arms}
              metric={metric}
              view={view}
              onZoom={onZoom}
              onPin={onPin}
              onPick={() => onPick(metric.key)}
            />
          )}
        </WhenNear>
      ))}
    </section>
  );
}

function MetricChart({
  arms,
  metric,
  view,
  onZoom,
  onPin,
  onPick,
}: {
  arms: readonly Arm[];
  metric: RecipeMetric;
  view: GridView;
  onZoom: (range: Range | null) => void;
  onPin: (x: number | null) => void;
  onPick: () => void;
}) {
  const { x, kind, lines, smoothing, log, zoom } = view;
  const [ownLog, setOwnLog] = useState<boolean | null>(null);
  const yLog = ownLog ?? log;
  const answer = useQuery({
    ...seriesQuery({
      runs: arms.flatMap((arm) => arm.runs.map((run) => run.id)),
      keys: [metric.key],
      x,
      range: zoom === null ? null : [zoom[0], zoom[1]],
      max_points: POINTS,
      group: "spec",
    }),
    refetchInterval: view.living ? 10_000 : false,
  });
  const [source] = useState(() => new SceneSource());
  const { data } = answer;
  useEffect(() => {
    source.set(overlayScene(arms, data, { key: metric.key, lines, smoothing, log: yLog }));
  }, [source, arms, data, metric.key, lines, smoothing, yLog]);
  return (
    <div className={answer.isPlaceholderData ? "metric-chart dimmed" : "metric-chart"}>
      {answer.isError && <ErrorNote error={answer.error} retry={() => void answer.refetch()} />}
      <ChartFrame
        name={metric.key}
        unit={metric.unit}
        better={metric.goal}
        source={source}
        kind={kind}
        syncKey={view.syncKey}
        zoom={zoom}
        onZoom={onZoom}
        yLog={yLog}
        onYLog={setOwnLog}
        robust={view.robust}
        pin={view.pin}
        onPin={onPin}
        smoothing={smoothing === 0 ? "" : `EMA ${smoothing.toFixed(2)}`}
      />
      <Button
        small
        look="quiet"
        className="metric-larger"
        onClick={onPick}
        aria-label={`Show ${metric.key} large`}
      >
        Larger
      </Button>
    </div>
  );
}
