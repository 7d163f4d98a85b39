import { useQuery } from "@tanstack/react-query";
import { runEventsQuery } from "@/api/runs";
import type { Run, RunEvent } from "@/api/types";
import { formatClock, formatTime } from "@/lib/times";
import { isOver, stateWords } from "@/lib/runStates";
import { ErrorNote, Skeleton } from "@/ui/Notes";
import { StateChip } from "@/ui/StateChip";

const words: Readonly<Record<string, string>> = {
  submitted: "Submitted.",
  claimed: "Claimed by the node.",
  started: "Started.",
  "attempt.succeeded": "Finished.",
};

function eventText(event: RunEvent): string {
  if (event.message !== "") return event.message;
  const known = words[event.code];
  if (known !== undefined) return known;
  return event.from_state === "" ? "Submitted." : `From ${stateWords[event.from_state].toLowerCase()}.`;
}

/** What happened, when, by whom, and why: append-only. */
export function HistoryTab({ run }: { run: Run }) {
  const history = useQuery({
    ...runEventsQuery(run.id),
    refetchInterval: isOver(run.state) ? false : 10_000,
  });
  if (history.isPending) return <Skeleton />;
  if (history.isError) return <ErrorNote error={history.error} retry={() => void history.refetch()} />;
  return (
    <div className="card table-scroll">
      <table className="table" aria-label="History">
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">State</th>
            <th scope="col">What happened</th>
            <th scope="col">By</th>
            <th scope="col" className="number">
              Epoch
            </th>
          </tr>
        </thead>
        <tbody>
          {history.data.items.map((event) => (
            <tr key={event.id}>
              <td className="second" title={event.at}>
                {formatClock(new Date(event.at), true)} <span className="quiet">{formatTime(event.at)}</span>
              </td>
              <td>
                <StateChip state={event.to_state} />
              </td>
              <td>
                {eventText(event)} {event.code !== "" && <span className="quiet mono">{event.code}</span>}
              </td>
              <td className="second">{event.actor}</td>
              <td className="number second">{event.epoch}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
