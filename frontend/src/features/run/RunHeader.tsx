import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { restoreItem, throwAwayRun } from "@/api/keeping";
import { recipeQuery } from "@/api/recipes";
import { actOnRun, retryRun, runEventsQuery, type RunAction } from "@/api/runs";
import type { RecipeMetric, Run } from "@/api/types";
import { timeLeft, WaitingText } from "@/features/runs/RunProgressText";
import { useNow } from "@/lib/clock";
import type { RunProgress } from "@/lib/frames";
import { formatInteger, formatPercent, formatValue, fromWire } from "@/lib/numbers";
import { isActive, isWaiting } from "@/lib/runStates";
import { formatClock, formatDuration, secondsBetween } from "@/lib/times";
import { Button, LinkButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Id } from "@/ui/Notes";
import { Progress } from "@/ui/Progress";
import { Figure } from "@/ui/Quantity";
import { StateChip } from "@/ui/StateChip";
import { say, sayError } from "@/ui/toasts";
import { AttemptTimeline } from "./AttemptTimeline";
import { ExportMenu } from "./ExportMenu";
import { FailureNote } from "./FailureNote";

export function RunHeader({ org, run, progress }: { org: string; run: Run; progress: RunProgress | null }) {
  const history = useQuery(runEventsQuery(run.id));
  const shown = progress === null ? run : { ...run, progress };
  return (
    <header className="run-header">
      <div className="run-title">
        <h1>{run.name}</h1>
        <StateChip state={run.state} />
        <Id id={run.id} />
        <span className="tag">{run.external ? "external" : run.recipe}</span>
        {Object.entries(run.tags).map(([key, value]) => (
          <span className="tag" key={key}>
            {value === "" ? key : `${key} ${value}`}
          </span>
        ))}
        <span className="spacer" />
        <RunActions org={org} run={run} />
      </div>
      {isWaiting(run.state) && (
        <p className="run-waiting">
          <WaitingText run={run} />
        </p>
      )}
      {run.state === "FAILED" || run.state === "LOST" ? (
        <FailureNote run={run} />
      ) : (
        <KeyFigures run={shown} />
      )}
      <AttemptTimeline run={shown} attempts={history.data?.attempts ?? []} />
    </header>
  );
}

export function bestOf(run: Run, metric: RecipeMetric): number | null {
  const summary = run.metrics[metric.key];
  if (summary === undefined) return null;
  const best = metric.goal === "max" ? summary.max : metric.goal === "min" ? summary.min : summary.last;
  return best === null ? null : fromWire(best);
}

function KeyFigures({ run }: { run: Run }) {
  const now = useNow(1_000);
  const recipe = useQuery(recipeQuery(run.recipe));
  const primary = recipe.data?.metrics.find((metric) => metric.primary);
  const best = primary === undefined ? null : bestOf(run, primary);
  const total = run.progress?.total ?? 0;
  const left = timeLeft(run, now);
  const elapsed = run.started_at === null ? null : secondsBetween(run.started_at, run.ended_at, now);
  return (
    <div className="figures">
      {run.progress !== null && (
        <div className="figure figure-progress">
          <Figure
            label="Step"
            value={formatInteger(run.progress.step)}
            detail={
              total > 0
                ? `of ${formatInteger(total)}, ${formatPercent(run.progress.step / total)}`
                : undefined
            }
          />
          {total > 0 && <Progress wide share={run.progress.step / total} label="Progress" />}
        </div>
      )}
      {primary !== undefined && best !== null && (
        <Figure
          label={`${primary.key}, ${primary.goal === null ? "last" : "best"}${isActive(run.state) ? " so far" : ""}`}
          value={formatValue(best)}
          detail={primary.unit}
        />
      )}
      {elapsed !== null && (
        <Figure label={run.ended_at === null ? "Running for" : "Ran for"} value={formatDuration(elapsed)} />
      )}
      {!run.external && (
        <Figure
          label="Devices"
          value={`${run.resources.devices} ${run.resources.kind}`}
          detail={run.node === "" ? undefined : run.node}
        />
      )}
      {run.attempt > 0 && !run.external && (
        <Figure label="Attempt" value={String(run.attempt)} detail={`of ${run.max_attempts}`} />
      )}
      {left !== null && (
        <Figure
          label="Ends about"
          value={formatClock(new Date(now + left * 1000))}
          detail={`in ${formatDuration(left)}`}
        />
      )}
      {!run.external && <Figure label="Seed" value={String(run.seed)} />}
    </div>
  );
}

function RunActions({ org, run }: { org: string; run: Run }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [asking, ask] = useState(false);
  const throwAway = (): void => {
    throwAwayRun(run.id)
      .then(() => {
        const bringBack = (): void => {
          restoreItem(run.id)
            .then(() => navigate(`/o/${org}/runs/${run.id}`))
            .catch(sayError);
        };
        say(`${run.name} lies in the trash.`, { label: "Undo", run: bringBack });
        void client.invalidateQueries({ queryKey: ["runs"] });
        return navigate(`/o/${org}/p/${run.project}/runs`);
      })
      .catch(sayError);
  };
  const may = (action: string): boolean => run.can.includes(action);
  const act = (action: RunAction, done: string): void => {
    actOnRun(run.id, action)
      .then((next) => {
        client.setQueryData(["run", run.id], next);
        say(done);
      })
      .catch(sayError);
  };
  const retry = (): void => {
    retryRun(run.id)
      .then((next) => navigate(`/o/${org}/runs/${next.id}`))
      .catch(sayError);
  };
  return (
    <div className="run-actions">
      {may("cancel") && (
        <Button id="stop-run" icon="stop" onClick={() => ask(true)}>
          Stop
        </Button>
      )}
      {may("pause") && (
        <Button
          icon="pause"
          onClick={() => act("pause", "Pausing. The run saves a checkpoint and is then held.")}
        >
          Pause
        </Button>
      )}
      {may("resume") && (
        <Button icon="play" onClick={() => act("resume", "Queued again. It resumes from its checkpoint.")}>
          Resume
        </Button>
      )}
      {may("retry") && (
        <Button icon="retry" onClick={retry}>
          Retry
        </Button>
      )}
      {may("delete") && <Button onClick={throwAway}>Move to trash</Button>}
      <ExportMenu run={run.id} />
      {may("clone") && (
        <LinkButton to={`/o/${org}/submit/${run.recipe}?from=${run.id}`} hint="E">
          Clone and edit
        </LinkButton>
      )}
      <LinkButton to={compareWithParent(org, run)} icon="bars" hint="C">
        Compare
      </LinkButton>
      {asking && (
        <Dialog
          title="Stop this run?"
          onClose={() => ask(false)}
          actions={
            <>
              <Button onClick={() => ask(false)}>Keep it</Button>
              <Button
                look="danger"
                onClick={() => {
                  ask(false);
                  act("cancel", "Stopping. A checkpoint is saved first.");
                }}
              >
                Stop the run
              </Button>
            </>
          }
        >
          <p>
            {isActive(run.state)
              ? "It saves a checkpoint and ends as cancelled. Points, logs and artifacts stay; a clone can start anew."
              : "It leaves the queue and ends as cancelled."}
          </p>
        </Dialog>
      )}
    </div>
  );
}

export function compareWithParent(org: string, run: Run): string {
  const runs = run.parent === null ? [run.id] : [run.parent, run.id];
  return `/o/${org}/compare?runs=${runs.join(",")}`;
}
