import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { NavLink, useNavigate, useParams } from "react-router";
import { applyRunChange, runArtifactsQuery, runQuery } from "@/api/runs";
import { ApiError } from "@/api/http";
import type { Run } from "@/api/types";
import type { RunProgress } from "@/lib/frames";
import { useShortcuts } from "@/lib/keys";
import { live } from "@/lib/live";
import { isActive } from "@/lib/runStates";
import { useUrlState } from "@/lib/urlState";
import { LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { ArtifactsTab } from "./ArtifactsTab";
import { ChartsTab } from "./ChartsTab";
import { ConfigPane } from "./ConfigPane";
import { HistoryTab } from "./HistoryTab";
import { LogsPane } from "./LogsPane";
import { NotesTab } from "./NotesTab";
import { PhoneBar } from "./PhoneBar";
import { compareWithParent, RunHeader } from "./RunHeader";
import "./run.css";
import "./charts.css";
import "./tabs.css";

const tabs = [
  ["", "Charts"],
  ["logs", "Logs"],
  ["config", "Config"],
  ["artifacts", "Artifacts"],
  ["system", "System"],
  ["timeline", "Timeline"],
  ["notes", "Notes"],
] as const;

export function RunPage() {
  const { org = "", run: id = "" } = useParams();
  const run = useQuery({ ...runQuery(id), refetchInterval: 30_000 });
  if (run.data !== undefined) return <OneRun key={id} org={org} run={run.data} />;
  return (
    <PageFrame title={id}>
      <div className="page-body">
        {run.isPending ? (
          <Skeleton lines={10} />
        ) : run.error instanceof ApiError && run.error.status === 404 ? (
          <EmptyState action={<LinkButton to={`/o/${org}/active`}>Active runs</LinkButton>}>
            There is no run {id}, or it belongs to an organisation you are not in.
          </EmptyState>
        ) : (
          <ErrorNote error={run.error} retry={() => void run.refetch()} />
        )}
      </div>
    </PageFrame>
  );
}

/** State, metrics and progress as the project announces them; the step also from the stream itself, once a second. */
function useRunLive(run: Run): RunProgress | null {
  const client = useQueryClient();
  const [progress, setProgress] = useState<RunProgress | null>(null);
  const active = isActive(run.state);
  useEffect(
    () =>
      live.watch({ topic: "project", org: run.org, project: run.project }, (message) => {
        if (!("id" in message) || message.id !== run.id) return;
        const change = message as { readonly id: string; readonly state?: string };
        const moved = change.state !== undefined && change.state !== run.state;
        applyRunChange(client, change);
        if (moved) void client.invalidateQueries({ queryKey: ["run", run.id] });
      }),
    [client, run.id, run.org, run.project, run.state],
  );
  useEffect(() => {
    if (!active) return;
    let timer: number | null = null;
    let newest: RunProgress | null = null;
    const stop = live.followRun(run.id, { keys: null, maxPoints: 1000, hz: 5 }, (state) => {
      newest = state.progress;
      timer ??= window.setTimeout(() => {
        timer = null;
        setProgress(newest);
      }, 500);
    });
    return () => {
      stop();
      if (timer !== null) window.clearTimeout(timer);
    };
  }, [active, run.id]);
  return active ? progress : null;
}

function OneRun({ org, run }: { org: string; run: Run }) {
  const { tab = "" } = useParams();
  const navigate = useNavigate();
  const url = useUrlState();
  const base = `/o/${org}/runs/${run.id}`;
  const progress = useRunLive(run);
  const artifacts = useQuery(runArtifactsQuery(run.id));
  const drawer = url.get("logs") !== "off";
  const toggleLogs = (): void => url.set({ logs: drawer ? "off" : null });

  useShortcuts([
    ...tabs.map(([path, name], at) => ({
      key: String(at + 1),
      does: name,
      run: () => void navigate(path === "" ? base : `${base}/${path}`),
    })),
    { key: "l", does: "Show or hide the logs", run: toggleLogs },
    {
      key: "e",
      does: "Clone and edit",
      run: () => void navigate(`/o/${org}/submit/${run.recipe}?from=${run.id}`),
    },
    { key: "c", does: "Compare", run: () => void navigate(compareWithParent(org, run)) },
    { key: "s", does: "Smoothing", run: () => document.getElementById("smoothing")?.focus() },
    { key: "f", does: "Follow: show everything again", run: () => url.set({ zoom: null }) },
    { key: ".", does: "Stop the run", run: () => document.getElementById("stop-run")?.click() },
  ]);

  const crumbs = [{ text: run.project, to: `/o/${org}/p/${run.project}/runs` }];
  if (run.study !== null) crumbs.push({ text: "study", to: `/o/${org}/studies/${run.study}` });
  return (
    <PageFrame headed title={run.name} crumbs={crumbs} followsLive>
      <div className="run-page">
        <RunHeader org={org} run={run} progress={progress} />
        <nav className="tabs run-tabs" aria-label="Run">
          {tabs.map(([path, name]) => (
            <NavLink key={name} to={path === "" ? base : `${base}/${path}`} end>
              {name}
              {path === "artifacts" && (artifacts.data?.items.length ?? 0) > 0 && (
                <span className="count">{artifacts.data?.items.length}</span>
              )}
            </NavLink>
          ))}
        </nav>
        {tab === "" ? (
          <div className="run-charts">
            <div className="run-main">
              <ChartsTab run={run} system={false} />
            </div>
            <aside className="run-side">
              <ConfigPane org={org} run={run} />
            </aside>
          </div>
        ) : (
          <div className={tab === "logs" ? "run-tab run-tab-logs" : "run-tab"}>
            {tab === "logs" && <LogsPane run={run} full />}
            {tab === "config" && <ConfigPane org={org} run={run} />}
            {tab === "artifacts" && <ArtifactsTab run={run} />}
            {tab === "system" && <ChartsTab run={run} system />}
            {tab === "timeline" && <HistoryTab run={run} />}
            {tab === "notes" && <NotesTab run={run} />}
          </div>
        )}
        {tab === "" && drawer && <LogsPane run={run} full={false} onClose={toggleLogs} />}
        <PhoneBar base={base} run={run} />
      </div>
    </PageFrame>
  );
}
