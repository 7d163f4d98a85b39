import { useQueries, useQuery } from "@tanstack/react-query";
import { useEffect, useState, useSyncExternalStore } from "react";
import { runSeriesQuery, seriesQuery } from "@/api/runs";
import type { Run, SeriesAnswer } from "@/api/types";
import type { Range } from "@/charts/plotOptions";
import { live } from "@/lib/live";
import { isActive } from "@/lib/runStates";
import { RunScenes, type SceneSettings } from "./runScenes";

const POINTS = 1000;
const LIVE_HZ = 5;
/** Series asked for at once. */
const BATCH = 24;

function batches(keys: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(keys.length / BATCH) }, (_, at) =>
    keys.slice(at * BATCH, (at + 1) * BATCH),
  );
}

/**
 * While a run is alive its points come through the socket; what is past, and every zoom, comes from queries, and only
 * for the charts that were `seen`.
 */
export function useRunScenes(
  run: Run,
  settings: SceneSettings,
  zoom: Range | null,
  wants: (key: string) => boolean,
  seen: readonly string[],
): {
  readonly scenes: RunScenes;
  readonly keys: readonly string[];
  readonly loading: boolean;
  readonly error: unknown;
} {
  const [scenes] = useState(() => new RunScenes(settings));
  const keys = useSyncExternalStore(scenes.onKeys, scenes.getKeys);
  const active = isActive(run.state);
  const [followed, follow] = useState(active);
  if (active && !followed) follow(true);

  useEffect(() => scenes.configure(settings), [scenes, settings]);
  useEffect(() => () => scenes.dispose(), [scenes]);
  useEffect(() => {
    if (!followed) return;
    return live.followRun(run.id, { keys: null, maxPoints: POINTS, hz: LIVE_HZ }, (state) =>
      scenes.setLive(state),
    );
  }, [followed, run.id, scenes]);

  const known = useQuery({ ...runSeriesQuery(run.id), refetchInterval: active ? 30_000 : false });
  const items = known.data?.items;
  useEffect(() => {
    if (items !== undefined) scenes.addKeys(items.map((item) => item.key));
  }, [items, scenes]);

  const drawn = keys.filter((key) => wants(key) && !(settings.kind === "series" && key === settings.xKey));
  const needed = !followed || zoom !== null;
  const answers = useQueries({
    queries: batches(seen.filter((key) => drawn.includes(key))).map((batch) => ({
      ...seriesQuery({
        runs: [run.id],
        keys: batch,
        x: settings.kind === "series" ? settings.xKey : settings.kind,
        range: zoom === null ? null : [zoom[0], zoom[1]],
        max_points: POINTS,
        group: null,
      }),
      enabled: needed,
      staleTime: active ? 5_000 : Infinity,
    })),
    combine,
  });
  const { series } = answers;
  useEffect(() => {
    if (series.length > 0) scenes.setAnswers(series);
  }, [series, scenes]);
  return {
    scenes,
    keys: drawn,
    loading: known.isPending || (needed && answers.pending),
    error: known.error ?? answers.error,
  };
}

interface Answered {
  readonly data?: { readonly series: SeriesAnswer[] } | undefined;
  readonly isPending: boolean;
  readonly error: Error | null;
}

function combine(answers: readonly Answered[]) {
  return {
    series: answers.flatMap((answer) => answer.data?.series ?? []),
    pending: answers.some((answer) => answer.isPending),
    error: answers.find((answer) => answer.error !== null)?.error ?? null,
  };
}
