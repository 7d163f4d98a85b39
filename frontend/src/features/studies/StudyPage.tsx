import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, useParams } from "react-router";
import { recipeQuery } from "@/api/recipes";
import { applyRunChange, cancelStudy, runsQuery, studyQuery } from "@/api/runs";
import type { Run, RunGroup, Study } from "@/api/types";
import { Comparison } from "@/features/compare/Comparison";
import { liveMean } from "@/features/runs/rows";
import { useNow } from "@/lib/clock";
import { live } from "@/lib/live";
import { fromWire, plural } from "@/lib/numbers";
import { isOver, stateWords, statesSentence } from "@/lib/runStates";
import { Button, LinkButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { MeanCell, ValueText } from "@/ui/Quantity";
import { StateGlyph } from "@/ui/StateChip";
import { Swatch } from "@/ui/Swatch";
import { say, sayError } from "@/ui/toasts";
import "./studies.css";

export function StudyPage() {
  const { org = "", study: id = "" } = useParams();
  const study = useQuery({ ...studyQuery(id), refetchInterval: 15_000 });
  if (study.data !== undefined) return <OneStudy org={org} study={study.data} />;
  return (
    <PageFrame title="Study">
      <div className="page-body">
        {study.isError ? <ErrorNote error={study.error} retry={() => void study.refetch()} /> : <Skeleton />}
      </div>
    </PageFrame>
  );
}

function OneStudy({ org, study }: { org: string; study: Study }) {
  const client = useQueryClient();
  useNow(10_000);
  const [asking, ask] = useState(false);
  const recipe = useQuery(recipeQuery(study.recipe));
  const primary = recipe.data?.metrics.find((metric) => metric.primary);
  const runs = useQuery({
    ...runsQuery(org, study.project, {
      study: study.id,
      group: "spec",
      columns: (recipe.data?.metrics ?? []).map((metric) => metric.key).join(","),
    }),
    refetchInterval: 15_000,
  });
  useEffect(
    () =>
      live.watch({ topic: "project", org, project: study.project }, (message) => {
        if ("id" in message && applyRunChange(client, message)) {
          void client.invalidateQueries({ queryKey: ["study", study.id] });
        }
      }),
    [client, org, study.project, study.id],
  );
  const template = recipe.data?.templates.find((one) => one.name === study.template);
  const defaults = {
    baseline: template?.baseline ?? study.arms[0]?.name ?? "",
    metric: template?.metric ?? primary?.key ?? "",
    x: template?.x ?? "step",
  };
  const items = armOrder(study, runs.data?.items ?? []);
  const living = items.filter((run) => !isOver(run.state)).length;
  return (
    <PageFrame
      headed
      title={study.name}
      crumbs={[
        { text: study.project, to: `/o/${org}/p/${study.project}/runs` },
        { text: "Studies", to: `/o/${org}/p/${study.project}/studies` },
      ]}
      followsLive
      actions={
        <>
          {living > 0 && (
            <Button icon="stop" onClick={() => ask(true)}>
              Stop {living}
            </Button>
          )}
          <LinkButton to={`/o/${org}/compare?runs=${study.runs.join(",")}`} icon="bars" look="primary">
            Compare
          </LinkButton>
        </>
      }
    >
      <div className="page-body">
        <header className="row">
          <h1>{study.name}</h1>
          <code>{study.recipe}</code>
          <span className="second">{statesSentence(study.states)}</span>
        </header>
        {runs.isError && <ErrorNote error={runs.error} retry={() => void runs.refetch()} />}
        {runs.isPending ? (
          <Skeleton />
        ) : (
          <ArmTable
            org={org}
            study={study}
            runs={items}
            groups={runs.data?.groups ?? []}
            metric={primary?.key ?? ""}
            unit={primary?.unit ?? ""}
          />
        )}
        {items.some((run) => Object.keys(run.metrics).length > 0) && (
          <>
            <h2 className="study-report">Report</h2>
            {template !== undefined && <p className="second study-question">{template.help}</p>}
            <Comparison org={org} runs={items} defaults={defaults} />
          </>
        )}
      </div>
      {asking && (
        <Dialog
          title={`Stop ${plural(living, "run")}?`}
          onClose={() => ask(false)}
          actions={
            <>
              <Button onClick={() => ask(false)}>Keep running</Button>
              <Button
                look="danger"
                onClick={() => {
                  ask(false);
                  cancelStudy(study.id)
                    .then((stopped) => say(`Stopping ${plural(stopped, "run")}.`))
                    .catch(sayError)
                    .finally(() => void client.invalidateQueries({ queryKey: ["runs", org] }));
                }}
              >
                Stop {plural(living, "run")}
              </Button>
            </>
          }
        >
          <p>Each saves a checkpoint first and ends as cancelled. What has finished stays.</p>
        </Dialog>
      )}
    </PageFrame>
  );
}

/** Runs in the order of the study's arms, so that an arm has one colour everywhere. */
function armOrder(study: Study, runs: readonly Run[]): Run[] {
  const place = new Map(study.arms.map((arm, at) => [arm.spec_hash, at]));
  return [...runs].sort(
    (a, b) => (place.get(a.spec_hash) ?? 0) - (place.get(b.spec_hash) ?? 0) || a.seed - b.seed,
  );
}

/** Arms by seeds, each run with its state, and the best so far by arm. */
function ArmTable({
  org,
  study,
  runs,
  groups,
  metric,
  unit,
}: {
  org: string;
  study: Study;
  runs: readonly Run[];
  groups: readonly RunGroup[];
  metric: string;
  unit: string;
}) {
  return (
    <div className="card table-scroll">
      <table className="table" aria-label="Arms by seed">
        <thead>
          <tr>
            <th scope="col">Arm</th>
            {study.seeds.map((seed) => (
              <th key={seed} scope="col">
                seed {seed}
              </th>
            ))}
            <th scope="col" className="number">
              {metric} <span className="quiet">{unit}</span>
            </th>
            <th scope="col">Runs</th>
          </tr>
        </thead>
        <tbody>
          {study.arms.map((arm, style) => {
            const mine = runs.filter((run) => run.spec_hash === arm.spec_hash && run.arm === arm.name);
            const aggregate = groups.find((group) => group.spec_hash === arm.spec_hash)?.metrics[metric];
            const now = liveMean(mine, metric);
            return (
              <tr key={`${arm.name}:${arm.spec_hash}`}>
                <td>
                  <span className="study-arm">
                    <Swatch index={style} />
                    <b>{arm.name === "" ? study.name : arm.name}</b>
                  </span>
                </td>
                {study.seeds.map((seed) => (
                  <SeedCell key={seed} org={org} run={mine.find((run) => run.seed === seed)} />
                ))}
                <td className="number">
                  {aggregate !== undefined ? (
                    <MeanCell
                      mean={fromWire(aggregate.mean)}
                      halfWidth={aggregate.half_width}
                      n={aggregate.n}
                    />
                  ) : now === null ? (
                    <ValueText value={null} />
                  ) : (
                    <span className="mean">
                      <ValueText value={now.mean} /> <span className="tag">n {now.n}, live</span>
                    </span>
                  )}
                </td>
                <td>
                  <Link to={`/o/${org}/compare?runs=${mine.map((run) => run.id).join(",")}`}>
                    {plural(mine.length, "run")}
                  </Link>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function SeedCell({ org, run }: { org: string; run: Run | undefined }) {
  if (run === undefined) return <td className="quiet">–</td>;
  const { progress, state } = run;
  const share =
    progress !== null && (progress.total ?? 0) > 0
      ? ` ${Math.floor((100 * progress.step) / (progress.total ?? 1))}\u202f%`
      : "";
  return (
    <td>
      <Link
        className={`study-cell state-${state.toLowerCase()}`}
        to={`/o/${org}/runs/${run.id}`}
        title={run.reason?.message ?? run.name}
      >
        <StateGlyph state={state} />
        {stateWords[state]}
        {!isOver(state) && share}
      </Link>
    </td>
  );
}
