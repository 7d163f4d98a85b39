import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { recipeQuery } from "@/api/recipes";
import { runEventsQuery, runSeriesQuery } from "@/api/runs";
import type { Run } from "@/api/types";
import { ChartFrame } from "@/charts/ChartFrame";
import { cursorOf } from "@/charts/Plot";
import type { Range } from "@/charts/plotOptions";
import type { XKind } from "@/charts/scene";
import { formatX } from "@/charts/sentences";
import { useShortcuts } from "@/lib/keys";
import { formatInteger } from "@/lib/numbers";
import { isActive, isOver, isWaiting } from "@/lib/runStates";
import { useUrlState } from "@/lib/urlState";
import { Button, LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { XAxisChoice } from "@/charts/XAxisChoice";
import { ChartGroup } from "./ChartGroup";
import { groupedKeys, type SceneSettings } from "./runScenes";
import { SingleValues } from "./SingleValues";
import { useRunScenes } from "./useRunScenes";

const DEFAULT_EMA = 0.9;
/** So many charts are found by eye. */
const FEW_CHARTS = 12;
const isSystem = (key: string): boolean => key.startsWith("system/");
const isMetric = (key: string): boolean => !isSystem(key);

/** System metrics are named by their unit. */
function unitOfKey(key: string): string {
  if (key.endsWith("_bytes")) return "bytes";
  return key.endsWith("_percent") ? "%" : "";
}

function kindOf(text: string): XKind {
  if (text === "" || text === "step") return "step";
  return text === "relative" || text === "time" ? text : "series";
}

function zoomOf(text: string): Range | null {
  const [lo, hi] = text.split(",").map(Number);
  return lo !== undefined && hi !== undefined && Number.isFinite(lo) && hi > lo ? [lo, hi] : null;
}

export function ChartsTab({ run, system }: { run: Run; system: boolean }) {
  const url = useUrlState();
  const kind = system ? "relative" : kindOf(url.get("x"));
  const xKey = kind === "series" ? url.get("x") : "";
  const smoothing = url.get("ema") === "" ? (system ? 0 : DEFAULT_EMA) : Number(url.get("ema"));
  const rawBehind = url.get("raw") !== "off";
  const zoomText = url.get("zoom");
  const zoom = useMemo(() => zoomOf(zoomText), [zoomText]);
  const logText = url.get("log");
  const history = useQuery(runEventsQuery(run.id));
  const attempts = history.data?.attempts;
  const recipe = useQuery(recipeQuery(run.recipe));
  const known = useQuery(runSeriesQuery(run.id));

  const settings = useMemo<SceneSettings>(
    () => ({
      kind,
      xKey,
      smoothing,
      rawBehind,
      logKeys: new Set(logText.split(",")),
      startedAt: Date.parse(run.started_at ?? run.created_at) / 1000,
      marks: (attempts ?? [])
        .filter((attempt) => attempt.number > 1 && attempt.resume_step !== null)
        .map((attempt) => ({ x: attempt.resume_step ?? 0, label: `attempt ${attempt.number}` })),
      zoomed: zoomText !== "",
    }),
    [kind, xKey, smoothing, rawBehind, logText, run.started_at, run.created_at, attempts, zoomText],
  );
  const [seen, setSeen] = useState<readonly string[]>([]);
  const see = (key: string): void => setSeen((before) => (before.includes(key) ? before : [...before, key]));
  const { scenes, keys, loading, error } = useRunScenes(
    run,
    settings,
    zoom,
    system ? isSystem : isMetric,
    seen,
  );
  const metrics = recipe.data?.metrics ?? [];
  const primary = metrics.find((metric) => metric.primary)?.key;
  const logKeys = url.list("log");
  const shut = url.list("shut");
  const robust = url.get("range") !== "full";
  const pinText = url.get("pin");
  const pin = pinText === "" || !Number.isFinite(Number(pinText)) ? null : Number(pinText);
  const setPin = (x: number | null): void => url.set({ pin: x === null ? null : String(x) });
  const syncKey = `run-${run.id}-${kind}-${xKey}`;
  const words = url.get("find");
  const singles = isOver(run.state) ? (known.data?.items ?? []).filter((item) => item.n === 1) : [];
  const single = new Set(singles.map((item) => item.key));
  const lines = keys.filter((key) => !single.has(key));
  const shown = lines.filter((key) => key.toLowerCase().includes(words.trim().toLowerCase()));
  useShortcuts([
    {
      key: "p",
      does: "Pin the cursor of the charts, or let it go",
      run: () => setPin(pin === null ? cursorOf(syncKey) : null),
    },
    { key: "/", does: "Find charts", run: () => document.getElementById("find-charts")?.focus() },
  ]);
  const setZoom = (range: Range | null): void =>
    url.set({ zoom: range === null ? null : range.map((value) => Number(value.toPrecision(8))).join(",") });

  return (
    <>
      <div className="charts-tools">
        {lines.length > FEW_CHARTS && (
          <label className="charts-find">
            <span className="visually-hidden">Find charts</span>
            <input
              id="find-charts"
              className="input"
              type="search"
              placeholder="Find charts"
              value={words}
              onChange={(event) => url.set({ find: event.target.value })}
            />
            <span className="quiet">
              {formatInteger(shown.length)} of {formatInteger(lines.length)}
            </span>
          </label>
        )}
        {pin !== null && (
          <Button small onClick={() => setPin(null)} title="P pins and lets go">
            Unpin {formatX(pin, kind)}
          </Button>
        )}
        {!system && keys.length > 0 && (
          <>
            <label className="check" title="Spikes may leave the y range; arrows at the edge tell of them">
              <input
                type="checkbox"
                checked={robust}
                onChange={(event) => url.set({ range: event.target.checked ? null : "full" })}
              />
              Robust range
            </label>
            <label
              className="smoothing"
              title="Series of fewer than 100 points, and those that only rise or only fall, are drawn as they are"
            >
              Smoothing
              <input
                id="smoothing"
                type="range"
                min={0}
                max={0.99}
                step={0.01}
                value={smoothing}
                style={{ "--filled": `${(smoothing / 0.99) * 100}%` } as React.CSSProperties}
                onChange={(event) => url.set({ ema: event.target.value })}
              />
              <b>{smoothing === 0 ? "off" : `EMA ${smoothing.toFixed(2)}`}</b>
            </label>
            <label className="check">
              <input
                type="checkbox"
                checked={rawBehind}
                onChange={(event) => url.set({ raw: event.target.checked ? null : "off" })}
              />
              Raw behind
            </label>
            <XAxisChoice
              value={kind === "series" ? xKey : kind}
              series={(known.data?.items ?? []).map((item) => item.key).filter(isMetric)}
              time
              onChange={(next) => url.set({ x: next === "step" ? null : next, zoom: null })}
            />
          </>
        )}
        {zoom !== null && (
          <Button small onClick={() => setZoom(null)}>
            {isActive(run.state) ? "Follow" : "Show all"}
          </Button>
        )}
      </div>
      {error !== null && error !== undefined && <ErrorNote error={error} />}
      {keys.length === 0 && loading && <Skeleton lines={8} />}
      {lines.length > 0 && shown.length === 0 && (
        <EmptyState action={<Button onClick={() => url.set({ find: null })}>Show all charts</Button>}>
          No chart has “{words}” in its name.
        </EmptyState>
      )}
      {keys.length === 0 && !loading && <NoPoints run={run} system={system} />}
      {groupedKeys(shown, primary).map(([group, list]) => (
        <ChartGroup
          key={group}
          group={group}
          keys={list}
          open={!shut.includes(group)}
          onOpen={(open) => url.set({ shut: open ? shut.filter((one) => one !== group) : [...shut, group] })}
          onSeen={see}
        >
          {(key) => {
            const metric = metrics.find((one) => one.key === key);
            return (
              <ChartFrame
                name={key}
                unit={metric?.unit ?? unitOfKey(key)}
                better={metric?.goal ?? null}
                source={scenes.source(key)}
                kind={kind}
                xName={xKey}
                syncKey={syncKey}
                zoom={zoom}
                onZoom={setZoom}
                yLog={logKeys.includes(key)}
                onYLog={(log) =>
                  url.set({ log: log ? [...logKeys, key] : logKeys.filter((one) => one !== key) })
                }
                fromZero={key.startsWith("perf/") || key.startsWith("system/")}
                robust={robust && !system}
                pin={pin}
                onPin={setPin}
                smoothing={smoothing === 0 ? "" : `EMA ${smoothing.toFixed(2)}`}
              />
            );
          }}
        </ChartGroup>
      ))}
      {!system && singles.length > 0 && (
        <SingleValues items={singles.filter((item) => isMetric(item.key))} metrics={metrics} />
      )}
    </>
  );
}

function NoPoints({ run, system }: { run: Run; system: boolean }) {
  if (system) return <EmptyState>No system metrics. A node reports them while it runs this run.</EmptyState>;
  if (isWaiting(run.state))
    return <EmptyState>No points yet. They appear here when the run starts.</EmptyState>;
  return (
    <EmptyState
      action={
        isOver(run.state) ? (
          <LinkButton to={`/o/${run.org}/runs/${run.id}/logs`}>Read its logs</LinkButton>
        ) : undefined
      }
    >
      {isActive(run.state) ? "No points yet. The run has started." : "This run ended without a point."}
    </EmptyState>
  );
}
