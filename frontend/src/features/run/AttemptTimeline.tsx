import type { Attempt, Run } from "@/api/types";
import { useNow } from "@/lib/clock";
import { isActive, isOver } from "@/lib/runStates";
import { formatClock, formatDuration, formatTime } from "@/lib/times";
import { timeLeft } from "@/features/runs/RunProgressText";

type Look = "wait" | "start" | "past" | "now" | "preempted" | "failed" | "expected";

export interface Segment {
  readonly look: Look;
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** Below this share of the bar the words are only in the title. */
const ROOM_FOR_TEXT = 0.07;

function endLook(outcome: string): Look | null {
  if (/preempt|lost|lease|expired/.test(outcome)) return "preempted";
  return /fail|error/.test(outcome) ? "failed" : null;
}

/** Waiting, starting and running in order, and what is expected to come. Times in milliseconds. */
export function segmentsOf(run: Run, attempts: readonly Attempt[], now: number): Segment[] {
  const segments: Segment[] = [];
  const end = run.ended_at === null ? now : Date.parse(run.ended_at);
  let at = Date.parse(run.created_at);
  for (const attempt of attempts) {
    const assigned = Date.parse(attempt.assigned_at);
    if (assigned > at)
      segments.push({
        look: "wait",
        from: at,
        to: assigned,
        text: `Waited ${formatDuration((assigned - at) / 1000)}`,
      });
    const stopped = attempt.ended_at === null ? end : Date.parse(attempt.ended_at);
    const started = attempt.started_at === null ? stopped : Date.parse(attempt.started_at);
    segments.push({ look: "start", from: assigned, to: started, text: "Starting" });
    if (attempt.started_at !== null) {
      const where = attempt.node === "" ? "" : `, ${attempt.node}`;
      segments.push({
        look: attempt.ended_at === null && isActive(run.state) ? "now" : "past",
        from: started,
        to: stopped,
        text: `Attempt ${attempt.number}${where}`,
      });
    }
    const look = attempt.ended_at === null ? null : endLook(attempt.outcome);
    if (look !== null) segments.push({ look, from: stopped, to: stopped, text: attempt.outcome });
    at = stopped;
  }
  if (!isOver(run.state) && !isActive(run.state)) {
    segments.push({ look: "wait", from: at, to: end, text: `Waiting ${formatDuration((end - at) / 1000)}` });
  }
  const left = timeLeft(run, now);
  if (left !== null) {
    segments.push({
      look: "expected",
      from: now,
      to: now + left * 1000,
      text: `about ${formatDuration(left)} left`,
    });
  }
  return segments;
}

export function AttemptTimeline({ run, attempts }: { run: Run; attempts: readonly Attempt[] }) {
  const now = useNow(isOver(run.state) ? 60_000 : 1_000);
  const segments = segmentsOf(run, attempts, now);
  const [first] = segments;
  const last = segments.at(-1);
  if (first === undefined || last === undefined) return null;
  const span = Math.max(1, last.to - first.from);
  const clock = (ms: number): string => formatClock(new Date(ms), span < 300_000);
  return (
    <div className="timeline" aria-label="Attempts">
      <div className="timeline-bar">
        {segments.map((segment, at) => (
          <span
            key={at}
            className={`timeline-part timeline-${segment.look}`}
            style={{ flexGrow: (segment.to - segment.from) / span }}
            title={`${segment.text}, ${formatDuration((segment.to - segment.from) / 1000)}`}
          >
            {(segment.to - segment.from) / span > ROOM_FOR_TEXT && <span>{segment.text}</span>}
          </span>
        ))}
      </div>
      <div className="timeline-ticks">
        <span title={run.created_at}>
          {formatTime(run.created_at).includes("ago") ? clock(first.from) : formatTime(run.created_at)}
        </span>
        {last.look === "expected" && (
          <b style={{ left: `${((now - first.from) / span) * 100}%` }} className="timeline-now">
            now {clock(now)}
          </b>
        )}
        <span>{last.look === "expected" ? `about ${clock(last.to)}` : clock(last.to)}</span>
      </div>
    </div>
  );
}
