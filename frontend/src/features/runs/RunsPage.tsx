import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { useNavigate, useParams } from "react-router";
import { ApiError } from "@/api/http";
import { projectsQuery } from "@/api/orgs";
import { recipesQuery } from "@/api/recipes";
import { applyRunChange, metricKeysQuery, runPagesQuery, seriesQuery } from "@/api/runs";
import { useNow } from "@/lib/clock";
import { useShortcuts } from "@/lib/keys";
import { live } from "@/lib/live";
import { formatInteger, plural } from "@/lib/numbers";
import { useUrlState } from "@/lib/urlState";
import { Button, LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { BulkBar, compareUrl } from "./BulkBar";
import { metricChoices, paramChoices, PARAM } from "./choices";
import { sparkColumn, tableColumns } from "./columns";
import { ArchiveMenu } from "./ArchiveMenu";
import { ProjectTabs } from "./ProjectTabs";
import { QueryBox } from "./QueryBox";
import { rowsOf, runsIn, sortGroups, type Row } from "./rows";
import { RunsTable } from "./RunsTable";
import { RunsTools } from "./RunsTools";
import "./runs.css";

const SPARK_POINTS = 64;
const MOST_SPARKS = 60;

export function RunsPage() {
  const { org = "", project = "" } = useParams();
  const url = useUrlState();
  const navigate = useNavigate();
  const client = useQueryClient();
  useNow(10_000);
  const q = useDeferredValue(url.get("q"));
  const states = url.list("state");
  const grouped = url.get("group") !== "none";
  const sort = url.get("sort");
  const open = new Set(url.list("open"));
  const selected = new Set(url.list("sel"));
  const [cursor, setCursor] = useState(-1);
  const [fresh, setFresh] = useState(0);
  const anchor = useRef(-1);

  const projects = useQuery(projectsQuery(org));
  const here = projects.data?.items.find((one) => one.slug === project);
  const recipes = useQuery(recipesQuery);
  const [counts, setCounts] = useState<ReadonlyMap<string, number>>(new Map());
  const logged = useQuery(metricKeysQuery(org, project));
  const choices = metricChoices(recipes.data?.items ?? [], counts, logged.data ?? []);
  const wanted = url.list("cols");
  const shown = wanted.length > 0 ? wanted : choices.slice(0, 3).map((metric) => metric.key);
  const keys = shown.filter((column) => !column.startsWith(PARAM));
  const params = shown.filter((column) => column.startsWith(PARAM));
  const list = useInfiniteQuery({
    ...runPagesQuery(org, project, {
      q,
      state: states,
      columns: keys.join(","),
      group: grouped ? "spec" : "",
      sort: sort === "" ? "-created_at" : sort,
    }),
    enabled: recipes.isFetched && logged.isFetched,
  });
  const misread = list.error instanceof ApiError && "q" in list.error.fields ? list.error : null;
  // While a query cannot be understood the rows of the last one stay.
  const [before, setBefore] = useState(list.data);
  if (list.data !== undefined && list.data !== before) setBefore(list.data);
  const pages = (list.data ?? (misread === null ? undefined : before))?.pages;
  const items = useMemo(() => pages?.flatMap((page) => page.items), [pages]);
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = list;
  const seen = new Map<string, number>();
  for (const run of items ?? []) seen.set(run.recipe, (seen.get(run.recipe) ?? 0) + 1);
  if (
    seen.size > 0 &&
    JSON.stringify([...seen]) !== JSON.stringify([...counts]) &&
    q === "" &&
    states.length === 0
  ) {
    setCounts(seen);
  }

  useEffect(() => {
    let timer: number | null = null;
    const unknown = new Set<string>();
    const stop = live.watch({ topic: "project", org, project }, (message) => {
      if (!("id" in message)) return;
      const change = message as { readonly id: string; readonly state?: string };
      if (!applyRunChange(client, change)) {
        unknown.add(change.id);
        setFresh(unknown.size);
        return;
      }
      timer ??= window.setTimeout(() => {
        timer = null;
        void client.invalidateQueries({ queryKey: ["runs", org, project], refetchType: "active" });
      }, 5_000);
    });
    return () => {
      stop();
      if (timer !== null) window.clearTimeout(timer);
    };
  }, [client, org, project]);

  const groups = pages?.[0]?.groups ?? null;
  const rows = rowsOf(items ?? [], groups === null ? null : sortGroups(groups, sort), open);
  const sparkKey = keys[0] ?? "";
  const sparkRuns = rows
    .flatMap((row) => (row.kind === "run" ? [row.run] : row.members.slice(0, 1)))
    .filter((run) => run.started_at !== null)
    .slice(0, MOST_SPARKS)
    .map((run) => run.id)
    .sort();
  const sparks = useQuery({
    ...seriesQuery({
      runs: [...new Set(sparkRuns)],
      keys: sparkKey === "" ? [] : [sparkKey],
      x: "step",
      range: null,
      max_points: SPARK_POINTS,
      group: null,
    }),
    refetchInterval: 10_000,
  });
  const spark = sparkKey === "" ? null : sparkColumn(sparkKey, sparks.data?.series ?? []);

  const toggleGroup = (row: Row): void => {
    if (row.kind !== "group") return;
    const name = row.group.spec_hash.slice(0, 12);
    const next = new Set(open);
    if (!next.delete(name)) next.add(name);
    url.set({ open: [...next] });
  };
  const metrics = keys.map(
    (key) =>
      choices.find((metric) => metric.key === key) ?? { key, unit: "", goal: null, help: "", primary: false },
  );
  const halves = rows.some((row) => row.kind === "group");
  const columns = tableColumns({ org, grouped, halves, spark, metrics, params, onToggleGroup: toggleGroup });

  const select = (row: Row, range: boolean): void => {
    const at = rows.indexOf(row);
    const from = range && anchor.current >= 0 ? Math.min(anchor.current, at) : at;
    const to = range && anchor.current >= 0 ? Math.max(anchor.current, at) : at;
    const ids = rows.slice(from, to + 1).flatMap((one) => runsIn(one).map((run) => run.id));
    const next = new Set(selected);
    const add = range || !runsIn(row).every((run) => next.has(run.id));
    ids.forEach((id) => (add ? next.add(id) : next.delete(id)));
    anchor.current = at;
    url.set({ sel: [...next] });
  };
  const chosen = (items ?? []).filter((run) => selected.has(run.id));
  const under = rows[cursor];
  const groupTimer = useRef(0);
  useEffect(() => () => window.clearTimeout(groupTimer.current), []);

  useShortcuts([
    { key: "/", does: "Find in runs", run: () => document.getElementById("run-query")?.focus() },
    { key: "j", does: "Next row", run: () => setCursor(Math.min(rows.length - 1, cursor + 1)) },
    { key: "k", does: "Previous row", run: () => setCursor(Math.max(0, cursor - 1)) },
    { key: "x", does: "Select the row", run: () => under !== undefined && select(under, false) },
    {
      key: "Enter",
      does: "Open the run or the group",
      run: () => {
        if (under?.kind === "run") void navigate(`/o/${org}/runs/${under.run.id}`);
        else if (under !== undefined) toggleGroup(under);
      },
    },
    {
      key: "c",
      does: "Compare what is selected",
      run: () => chosen.length > 0 && void navigate(compareUrl(org, chosen)),
    },
    {
      key: "g",
      does: "Group by everything but seed, or not",
      run: () => {
        groupTimer.current = window.setTimeout(() => url.set({ group: grouped ? "none" : null }), 450);
      },
    },
    { key: "Escape", does: "Clear the selection", run: () => url.set({ sel: null }) },
  ]);

  const total = pages?.[0]?.total ?? 0;
  const name = here === undefined || here.name === "" ? project : here.name;
  return (
    <PageFrame
      title={name}
      crumbs={[{ text: "Projects", to: `/o/${org}/projects` }]}
      followsLive
      actions={
        <>
          <ArchiveMenu org={org} project={project} />
          <LinkButton to={`/o/${org}/submit?project=${project}`} icon="plus" hint="N" look="primary">
            Submit
          </LinkButton>
        </>
      }
    >
      <div className="runs-page">
        <ProjectTabs org={org} project={project} runs={here?.runs} />
        <RunsTools
          url={url}
          choices={choices}
          params={paramChoices(items ?? [])}
          shown={shown}
          query={
            <QueryBox
              org={org}
              project={project}
              value={url.get("q")}
              onChange={(text) => url.set({ q: text })}
              error={misread}
              count={
                list.data === undefined
                  ? ""
                  : `${formatInteger(total)} of ${plural(here?.runs ?? total, "run")}`
              }
            />
          }
          fresh={fresh}
          onFresh={() => {
            setFresh(0);
            void client.invalidateQueries({ queryKey: ["runs", org, project] });
            void client.invalidateQueries({ queryKey: ["projects", org] });
          }}
        />
        {list.isError && misread === null && (
          <ErrorNote error={list.error} retry={() => void list.refetch()} />
        )}
        {list.isPending && <Skeleton lines={10} />}
        {list.isSuccess && rows.length === 0 && (
          <NoRuns
            org={org}
            project={project}
            filtered={q !== "" || states.length > 0}
            onClear={() => url.set({ q: null, state: null })}
            all={here?.runs ?? 0}
          />
        )}
        {rows.length > 0 && (
          <RunsTable
            label={`Runs of ${name}`}
            rows={rows}
            columns={columns}
            sort={sort}
            onSort={(next) => url.set({ sort: next })}
            selected={selected}
            onSelect={select}
            onSelectAll={(all) =>
              url.set({ sel: all ? rows.flatMap((row) => runsIn(row).map((run) => run.id)) : null })
            }
            cursor={cursor}
            onCursor={setCursor}
            dimmed={list.isPlaceholderData || misread !== null}
            onEnd={hasNextPage && !isFetchingNextPage ? () => void fetchNextPage() : null}
          />
        )}
        {hasNextPage && (
          <p className="runs-foot" role="status">
            {formatInteger(items?.length ?? 0)} of {plural(total, "run")} loaded.{" "}
            {isFetchingNextPage ? "Loading more." : "More come as you scroll."}
          </p>
        )}
        <BulkBar org={org} runs={chosen} onClear={() => url.set({ sel: null })} />
      </div>
    </PageFrame>
  );
}

function NoRuns({
  org,
  project,
  filtered,
  all,
  onClear,
}: {
  org: string;
  project: string;
  filtered: boolean;
  all: number;
  onClear: () => void;
}) {
  if (filtered) {
    return (
      <EmptyState action={<Button onClick={onClear}>Clear the filters</Button>}>
        No runs match. {formatInteger(all)} match without the filters.
      </EmptyState>
    );
  }
  return (
    <EmptyState
      action={
        <>
          <LinkButton to={`/o/${org}/submit?project=${project}`} look="primary" icon="plus">
            Choose a recipe
          </LinkButton>
          <LinkButton to={`/o/${org}/p/${project}/import`}>Import runs</LinkButton>
        </>
      }
      script={`curl -H "Authorization: Bearer $STILLROOM_TOKEN" ${location.origin}/api/v1/orgs/${org}/projects/${project}/runs`}
    >
      No runs yet. The first one appears here as soon as it is launched.
    </EmptyState>
  );
}
