import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { recipesQuery } from "@/api/recipes";
import { seriesQuery } from "@/api/runs";
import type { RecipeMetric, Run } from "@/api/types";
import { ChartFrame } from "@/charts/ChartFrame";
import { cursorOf } from "@/charts/Plot";
import type { Range } from "@/charts/plotOptions";
import { SceneSource, type XKind } from "@/charts/scene";
import { formatX } from "@/charts/sentences";
import { XAxisChoice } from "@/charts/XAxisChoice";
import { useShortcuts } from "@/lib/keys";
import { isOver } from "@/lib/runStates";
import { useUrlState } from "@/lib/urlState";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { ErrorNote } from "@/ui/Notes";
import { Segmented } from "@/ui/Segmented";
import { Swatch } from "@/ui/Swatch";
import { armsOf, configDiff, finals, type Arm } from "./arms";
import "./compare.css";
import { overlayScene } from "./compareScenes";
import { DiffTable } from "./DiffTable";
import { FinalsTable } from "./FinalsTable";
import { MetricGrid } from "./MetricGrid";
import { reaches } from "./reach";
import { ReachTable } from "./ReachTable";

const POINTS = 800;
/** More arms than these are named by the legend alone, until they are asked for. */
const MANY_ARMS = 8;

function metricsOf(runs: readonly Run[], known: readonly RecipeMetric[]): RecipeMetric[] {
  const keys = new Set(runs.flatMap((run) => Object.keys(run.metrics)));
  const named = known.filter((metric) => keys.has(metric.key));
  const rest = [...keys].filter((key) => !named.some((metric) => metric.key === key)).sort();
  return [
    ...named.sort((a, b) => Number(b.primary) - Number(a.primary)),
    ...rest.map((key) => ({ key, unit: "", goal: null, help: "", primary: false })),
  ];
}

export interface ComparisonDefaults {
  /** The arm against which the others are read. */
  readonly baseline: string;
  readonly metric: string;
  readonly x: string;
}

const plain: ComparisonDefaults = { baseline: "", metric: "", x: "" };

/** Arms over one axis, their final values with intervals, and the differences to a baseline; all of it in the link. */
export function Comparison({
  org,
  runs,
  onRuns,
  defaults = plain,
}: {
  org: string;
  runs: readonly Run[];
  /** Leaves runs out; absent where the set of runs is given. */
  onRuns?: (runs: readonly Run[]) => void;
  defaults?: ComparisonDefaults;
}) {
  const url = useUrlState();
  const recipes = useQuery(recipesQuery);
  const arms = useMemo(() => armsOf(runs), [runs]);
  const known = (recipes.data?.items ?? [])
    .filter((recipe) => runs.some((run) => run.recipe === recipe.name))
    .flatMap((recipe) => recipe.metrics);
  const unique = [...new Map(known.map((metric) => [metric.key, metric])).values()];
  const metrics = metricsOf(runs, unique);
  const first = metrics.find((one) => one.key === defaults.metric) ?? metrics[0];
  const key = url.get("key") === "" ? (first?.key ?? "") : url.get("key");
  const metric = metrics.find((one) => one.key === key) ?? {
    key,
    unit: "",
    goal: null,
    help: "",
    primary: false,
  };
  const xText = url.get("x") === "" ? defaults.x : url.get("x");
  const x = xText === "relative" || metrics.some((one) => one.key === xText) ? xText : "step";
  const kind: XKind = x === "step" || x === "relative" ? x : "series";
  const xUnit = metrics.find((one) => one.key === x)?.unit ?? "";
  const log = url.get("y") === "log";
  const lines = url.get("lines") === "seeds" ? "seeds" : "mean";
  const smoothing = Number(url.get("ema") === "" ? 0 : url.get("ema"));
  const baseline =
    arms.find((arm) => arm.hash.startsWith(url.get("base")) && url.get("base") !== "")?.hash ??
    arms.find((arm) => arm.label === defaults.baseline)?.hash ??
    arms[0]?.hash ??
    "";
  const diff = url.get("diff") === "on";
  const every = url.get("view") === "all";
  const robust = url.get("range") === "robust";
  const pinText = url.get("pin");
  const pin = pinText === "" || !Number.isFinite(Number(pinText)) ? null : Number(pinText);
  const setPin = (at: number | null): void => url.set({ pin: at === null ? null : String(at) });
  const syncKey = `compare-${x}`;
  const [lo, hi] = url.get("zoom").split(",").map(Number);
  const zoom = lo !== undefined && hi !== undefined && hi > lo ? ([lo, hi] as const) : null;

  const setZoom = (range: Range | null): void =>
    url.set({ zoom: range === null ? null : range.map((value) => Number(value.toPrecision(8))).join(",") });

  const living = runs.some((run) => !isOver(run.state));
  const answer = useQuery({
    ...seriesQuery({
      runs: runs.map((run) => run.id),
      keys: key === "" ? [] : [key],
      x,
      range: zoom === null ? null : [zoom[0], zoom[1]],
      max_points: POINTS,
      group: "spec",
    }),
    refetchInterval: living ? 5_000 : false,
  });
  const [source] = useState(() => new SceneSource());
  const { data } = answer;
  useEffect(() => {
    source.set(overlayScene(arms, data, { key, lines, smoothing, log }));
  }, [source, arms, data, key, lines, smoothing, log]);

  const repeated = arms.some((arm) => arm.runs.length > 1);
  const rows = finals(arms, key, baseline);
  const nextArm = arms[(arms.findIndex((arm) => arm.hash === baseline) + 1) % arms.length];
  useShortcuts([
    {
      key: "x",
      does: "Step or relative time",
      run: () => url.set({ x: x === "step" ? "relative" : "step", zoom: null }),
    },
    { key: "y", does: "Log or linear y axis", run: () => url.set({ y: log ? null : "log" }) },
    {
      key: "m",
      does: "Means or every seed",
      run: () => url.set({ lines: lines === "mean" ? "seeds" : null }),
    },
    { key: "b", does: "Next baseline", run: () => url.set({ base: nextArm?.hash.slice(0, 12) ?? null }) },
    {
      key: "p",
      does: "Pin the cursor of the charts, or let it go",
      run: () => setPin(pin === null ? cursorOf(syncKey) : null),
    },
    { key: "v", does: "One metric or all", run: () => url.set({ view: every ? null : "all" }) },
    { key: "d", does: "Config differences", run: () => url.set({ diff: diff ? null : "on" }) },
  ]);

  return (
    <>
      <ArmTags
        arms={arms}
        onRemove={
          onRuns === undefined ? null : (arm) => onRuns(runs.filter((run) => !arm.runs.includes(run)))
        }
      />
      <div className="compare-tools">
        <Segmented
          label="Charts"
          value={every ? "all" : "one"}
          options={[
            ["one", "One metric"],
            ["all", `All ${metrics.length}`],
          ]}
          onChange={(next) => url.set({ view: next === "all" ? "all" : null })}
        />
        <span className="select-frame compare-metric">
          <select
            className="select"
            aria-label="Metric"
            value={key}
            onChange={(event) => url.set({ key: event.target.value })}
          >
            {metrics.map((one) => (
              <option key={one.key}>{one.key}</option>
            ))}
          </select>
          <Icon name="chevronDown" size={14} />
        </span>
        <XAxisChoice
          value={x}
          series={metrics.filter((one) => one.key !== key).map((one) => one.key)}
          onChange={(next) => url.set({ x: next, zoom: null })}
        />
        <span>y</span>
        <Segmented
          label="y axis"
          value={log ? "log" : "linear"}
          options={[
            ["linear", "Linear"],
            ["log", "Log"],
          ]}
          onChange={(next) => url.set({ y: next === "log" ? "log" : null })}
        />
        <span>Lines</span>
        <Segmented
          label="Lines"
          value={lines}
          options={[
            ["mean", "Mean ± 95 %"],
            ["seeds", "Every seed"],
          ]}
          onChange={(next) => url.set({ lines: next === "seeds" ? "seeds" : null })}
        />
        <label className="row">
          Smoothing
          <input
            type="range"
            min={0}
            max={0.99}
            step={0.01}
            value={smoothing}
            style={{ "--filled": `${(smoothing / 0.99) * 100}%` } as React.CSSProperties}
            onChange={(event) => url.set({ ema: event.target.value === "0" ? null : event.target.value })}
          />
          <b>{smoothing === 0 ? "off" : `EMA ${smoothing.toFixed(2)}`}</b>
        </label>
        <label className="check" title="Spikes may leave the y range; arrows at the edge tell of them">
          <input
            type="checkbox"
            checked={robust}
            onChange={(event) => url.set({ range: event.target.checked ? "robust" : null })}
          />
          Robust range
        </label>
        <span className="spacer" />
        {pin !== null && (
          <Button small onClick={() => setPin(null)} title="P pins and lets go">
            Unpin {formatX(pin, kind)}
          </Button>
        )}
        <button
          type="button"
          className="filter"
          aria-pressed={diff}
          onClick={() => url.set({ diff: diff ? null : "on" })}
        >
          Config differences
        </button>
        {zoom !== null && (
          <Button small onClick={() => url.set({ zoom: null })}>
            Show all
          </Button>
        )}
      </div>
      {answer.isError && <ErrorNote error={answer.error} retry={() => void answer.refetch()} />}
      <h2 className="visually-hidden">Comparison</h2>
      <div className={answer.isPlaceholderData ? "dimmed" : undefined}>
        <ChartFrame
          name={key}
          unit={[metric.unit, lines === "mean" && repeated ? "shaded: 95 % interval over seeds" : ""]
            .filter((part) => part !== "")
            .join(", ")}
          better={metric.goal}
          source={source}
          kind={kind}
          xName={kind === "series" ? `${x}${xUnit === "" ? "" : `, ${xUnit}`}` : ""}
          height={380}
          syncKey={syncKey}
          zoom={zoom}
          onZoom={setZoom}
          robust={robust}
          pin={pin}
          onPin={setPin}
          yLog={log}
          onYLog={(on) => url.set({ y: on ? "log" : null })}
          smoothing={smoothing === 0 ? "" : `EMA ${smoothing.toFixed(2)}`}
          lineEnds
        />
      </div>
      {every && (
        <MetricGrid
          arms={arms}
          metrics={metrics.filter((one) => one.key !== key && one.key !== x)}
          view={{ x, kind, lines, smoothing, log, zoom, robust, pin, syncKey, living }}
          onZoom={setZoom}
          onPin={setPin}
          onPick={(picked) => url.set({ key: picked })}
        />
      )}
      <FinalsTable
        org={org}
        rows={rows}
        metric={metric}
        baseline={baseline}
        onBaseline={(hash) => url.set({ base: hash.slice(0, 12) })}
      />
      {zoom === null && (
        <ReachTable
          rows={reaches(arms, data, { key, goal: metric.goal, baseline })}
          baseline={arms.find((arm) => arm.hash === baseline)?.label ?? ""}
          along={x === "step" ? "Step" : x === "relative" ? "Time" : x}
        />
      )}
      {diff && <DiffTable arms={arms} rows={configDiff(arms)} />}
    </>
  );
}

function ArmTags({ arms, onRemove }: { arms: readonly Arm[]; onRemove: ((arm: Arm) => void) | null }) {
  const [all, showAll] = useState(false);
  const shown = all || arms.length <= MANY_ARMS + 1 ? arms : arms.slice(0, MANY_ARMS);
  return (
    <div className="row arm-tags">
      <span className="quiet">Arms</span>
      {shown.map((arm) => (
        <span key={arm.hash} className="arm-tag">
          <Swatch index={arm.style} />
          <b>{arm.label}</b>
          <span className="quiet">{arm.runs.length}</span>
          {arms.length > 1 && onRemove !== null && (
            <button
              type="button"
              className="copy"
              aria-label={`Remove ${arm.label}`}
              onClick={() => onRemove(arm)}
            >
              <Icon name="close" size={12} />
            </button>
          )}
        </span>
      ))}
      {arms.length > MANY_ARMS + 1 && (
        <Button small look="quiet" aria-expanded={all} onClick={() => showAll(!all)}>
          {all ? "Show fewer" : `${arms.length - shown.length} more arms`}
        </Button>
      )}
    </div>
  );
}
