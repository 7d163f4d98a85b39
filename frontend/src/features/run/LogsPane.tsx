import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useDeferredValue, useEffect, useRef, useState } from "react";
import { fetchLogs } from "@/api/runs";
import type { Run } from "@/api/types";
import { plainLine } from "@/lib/ansi";
import type { LogLine } from "@/lib/frames";
import { live } from "@/lib/live";
import { mergeLogs } from "@/lib/liveState";
import { formatInteger, plural } from "@/lib/numbers";
import { isActive } from "@/lib/runStates";
import { formatClock } from "@/lib/times";
import { Button } from "@/ui/Button";
import { ErrorNote } from "@/ui/Notes";
import { downloadText } from "@/charts/downloads";

const LINE_HEIGHT = 18;
const PAGE = 500;

/** The cursor of a log is a line number, which travels as text. */
function numberOf(cursor: string | null | undefined): number | null {
  return cursor === null || cursor === undefined ? null : Number(cursor);
}

/** Lines of a run: the newest page, older ones on demand, live ones as they come. */
function useLogs(run: Run, q: string) {
  const [older, setOlder] = useState<readonly LogLine[]>([]);
  const [cursor, setCursor] = useState<number | null | undefined>(undefined);
  const [streamed, setStreamed] = useState<readonly LogLine[]>([]);
  const active = isActive(run.state);
  const first = useQuery({
    queryKey: ["run", run.id, "logs", q, run.state],
    queryFn: ({ signal }) =>
      fetchLogs(run.id, { direction: "backward", limit: PAGE, ...(q === "" ? {} : { q }) }, signal),
  });
  useEffect(() => {
    if (!active) return;
    let timer: number | null = null;
    let newest: readonly LogLine[] = [];
    const stop = live.followRun(run.id, { keys: null, maxPoints: 1000, hz: 5 }, (state) => {
      newest = state.logs;
      timer ??= window.setTimeout(() => {
        timer = null;
        setStreamed(newest);
      }, 200);
    });
    return () => {
      stop();
      if (timer !== null) window.clearTimeout(timer);
    };
  }, [active, run.id]);
  const newestPage = [...(first.data?.items ?? [])].sort((a, b) => a.n - b.n);
  const stream =
    q === "" ? streamed : streamed.filter((line) => line.message.toLowerCase().includes(q.toLowerCase()));
  const lines = mergeLogs(mergeLogs(q === "" ? older : [], newestPage), stream);
  const next = cursor === undefined ? numberOf(first.data?.next_cursor) : cursor;
  const more = async (): Promise<void> => {
    if (next === null) return;
    const page = await fetchLogs(run.id, { direction: "backward", limit: PAGE, cursor: next });
    setOlder((before) =>
      mergeLogs(
        [...page.items].sort((a, b) => a.n - b.n),
        before,
      ),
    );
    setCursor(numberOf(page.next_cursor));
  };
  return {
    lines,
    more: q === "" && next !== null && (lines[0]?.n ?? 0) > 1 ? more : null,
    error: first.error,
  };
}

export function LogsPane({ run, full, onClose }: { run: Run; full: boolean; onClose?: () => void }) {
  const [text, setText] = useState("");
  const { lines, more, error } = useLogs(run, useDeferredValue(text.trim()));
  const [following, follow] = useState(true);
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => LINE_HEIGHT,
    overscan: 20,
  });
  const last = lines.at(-1)?.n;
  useEffect(() => {
    const box = scroller.current;
    if (following && box !== null) box.scrollTop = box.scrollHeight;
  }, [following, last, lines.length]);

  const onScroll = (): void => {
    const box = scroller.current;
    if (box === null) return;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < LINE_HEIGHT * 1.5;
    if (atEnd !== following) follow(atEnd);
  };

  return (
    <section
      className={full ? "logs logs-full" : "logs"}
      style={full ? undefined : { height: Math.min(178, Math.max(78, 42 + lines.length * LINE_HEIGHT)) }}
      aria-label="Logs"
    >
      <header className="logs-head">
        <h3>Logs</h3>
        {run.attempt > 1 && <span className="tag">attempt {run.attempt}</span>}
        <span className="quiet">{plural(lines.length, "line")}</span>
        <span className="spacer" />
        <input
          className="input logs-find"
          type="search"
          placeholder="Find in logs"
          aria-label="Find in logs"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <button type="button" className="filter" aria-pressed={following} onClick={() => follow(!following)}>
          {following ? "Following" : "Follow"}
        </button>
        <Button
          look="quiet"
          small
          icon="download"
          aria-label="Download the lines shown"
          onClick={() =>
            downloadText(
              `${run.id}.log`,
              "text/plain",
              lines.map((line) => `${stamp(line)}  ${plainLine(line.message)}`).join("\n"),
            )
          }
        />
        {onClose !== undefined && (
          <Button look="quiet" small icon="close" aria-label="Close the logs" onClick={onClose} />
        )}
      </header>
      {error !== null && <ErrorNote error={error} />}
      <div className="logs-scroll" ref={scroller} onScroll={onScroll} tabIndex={0} role="log" aria-live="off">
        {more !== null && (
          <button type="button" className="logs-older" onClick={() => void more()}>
            Show lines before {formatInteger(lines[0]?.n ?? 0)}
          </button>
        )}
        {lines.length === 0 && (
          <p className="logs-none">{text === "" ? "No lines yet." : `No line has “${text}”.`}</p>
        )}
        <div className="logs-lines" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((item) => {
            const line = lines[item.index];
            return line === undefined ? null : (
              <div
                key={line.n}
                className={`log log-${lookOf(line)}`}
                style={{ transform: `translateY(${item.start}px)` }}
              >
                <time title={new Date(line.time * 1000).toISOString()}>{stamp(line)}</time>
                <span>{plainLine(line.message)}</span>
              </div>
            );
          })}
        </div>
      </div>
    </section>
  );
}

function stamp(line: LogLine): string {
  return formatClock(new Date(line.time * 1000), true);
}

function lookOf(line: LogLine): string {
  const level = line.level.toLowerCase();
  if (level.startsWith("err") || level === "critical" || level === "fatal") return "bad";
  if (level.startsWith("warn")) return "warn";
  return line.stream === "stderr" || level === "debug" ? "quiet" : "plain";
}
