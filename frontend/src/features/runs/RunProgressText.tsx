import type { Run } from "@/api/types";
import { formatInteger, ordinal, plural } from "@/lib/numbers";
import { isActive, isWaiting } from "@/lib/runStates";
import { formatDuration, secondsBetween } from "@/lib/times";
import { Progress } from "@/ui/Progress";

/** Progress and why-waiting share one place, since a run has one or the other. */
export function RunProgressText({ run }: { run: Run }) {
  const { progress } = run;
  if (isWaiting(run.state)) return <WaitingText run={run} />;
  if (isActive(run.state)) {
    if (progress === null) return <span className="second">{run.reason?.message ?? startingWords(run)}</span>;
    const total = progress.total ?? 0;
    const left = timeLeft(run);
    return (
      <span className="progress-text">
        {total > 0 && <Progress share={progress.step / total} label={`Progress of ${run.name}`} />}
        <span>
          step {formatInteger(progress.step)}
          {total > 0 && ` of ${formatInteger(total)}`}
          {left === null ? "" : `, about ${formatDuration(left)} left`}
        </span>
      </span>
    );
  }
  if (run.state === "SUCCEEDED") {
    return (
      <span className="second">
        {progress === null || progress.step === 0 ? "Finished" : plural(progress.step, "step")}
      </span>
    );
  }
  const look = run.state === "FAILED" ? "bad-text" : run.state === "LOST" ? "warn-text" : "second";
  const at = progress === null ? "" : ` at step ${formatInteger(progress.step)}`;
  return <span className={look}>{run.reason?.message ?? `Ended${at}`}</span>;
}

function startingWords(run: Run): string {
  return run.state === "ASSIGNED" ? `Assigned to ${run.node === "" ? "a node" : run.node}` : "Starting";
}

export function WaitingText({ run }: { run: Run }) {
  const { waiting } = run;
  const preempted = run.attempt > 0 && run.state === "QUEUED";
  const message =
    waiting?.message ?? run.reason?.message ?? (run.state === "HELD" ? "Held." : "Waiting for a decision.");
  const lead =
    waiting?.rank === 1 ? "Next." : typeof waiting?.rank === "number" ? `${ordinal(waiting.rank)}.` : "";
  return (
    <span className="second" title={message}>
      {preempted && (
        <span className="tag">{run.reason?.code.includes("preempt") === true ? "preempted" : "again"}</span>
      )}{" "}
      {lead !== "" && !message.startsWith(lead) && <b>{lead} </b>}
      {message}
    </span>
  );
}

/** An estimate only where it can be defended: first attempt, past a twentieth of the way. */
export function timeLeft(run: Run, now = Date.now()): number | null {
  const total = run.progress?.total ?? 0;
  const step = run.progress?.step ?? 0;
  if (run.state !== "RUNNING" || run.attempt > 1 || run.started_at === null || total === 0 || step >= total)
    return null;
  if (step / total < 0.05) return null;
  return (secondsBetween(run.started_at, null, now) * (total - step)) / step;
}

/** Elapsed for what runs or ran, the wait for what waits. */
export function elapsedText(run: Run, now = Date.now()): string {
  if (run.state === "QUEUED") return `wait ${formatDuration(secondsBetween(run.created_at, null, now))}`;
  if (run.state === "HELD") return `held ${formatDuration(secondsBetween(run.created_at, null, now))}`;
  if (run.started_at === null) return "–";
  return formatDuration(secondsBetween(run.started_at, run.ended_at, now));
}
