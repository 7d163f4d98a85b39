import { useQuery } from "@tanstack/react-query";
import { useEffect, useState, useSyncExternalStore } from "react";
import { runSeriesQuery, seriesQuery } from "@/api/runs";
import type { Run } from "@/api/types";
import type { Range } from "@/charts/plotOptions";
import { live } from "@/lib/live";
import { isActive } from "@/lib/runStates";
import { RunScenes, type SceneSettings } from "./runScenes";

const POINTS = 1000;
const LIVE_HZ = 5;

/** While a run is alive its points come through the socket; what is past, and every zoom, comes from the query. */
export function useRunScenes(
  run: Run,
  settings: SceneSettings,
  zoom: Range | null,
  wants: (key: string) => boolean,
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

  const asked = keys.filter((key) => wants(key) && !(settings.kind === "series" && key === settings.xKey));
  const needed = asked.length > 0 && (!followed || zoom !== null);
  const answer = useQuery({
    ...seriesQuery({
      runs: [run.id],
      keys: asked,
      x: settings.kind === "series" ? settings.xKey : settings.kind,
      range: zoom === null ? null : [zoom[0], zoom[1]],
      max_points: POINTS,
      group: null,
    }),
    enabled: needed,
    staleTime: active ? 5_000 : Infinity,
  });
  const series = answer.data?.series;
  useEffect(() => {
    if (series !== undefined) scenes.setAnswers(series);
  }, [series, scenes]);
  return {
    scenes,
    keys: asked,
    loading: known.isPending || (needed && answer.isPending),
    error: known.error ?? answer.error,
  };
}
