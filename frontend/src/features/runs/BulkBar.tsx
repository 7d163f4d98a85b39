import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { restoreItem, throwAwayRun } from "@/api/keeping";
import { actOnRun, retryRun } from "@/api/runs";
import type { Run } from "@/api/types";
import { plural } from "@/lib/numbers";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { say, sayError } from "@/ui/toasts";

/** So many requests are under way at once. */
const AT_ONCE = 6;

/** Does the same to each run; the first error is told after all were tried. Answers the runs for which it worked. */
async function toEach(runs: readonly Run[], act: (run: Run) => Promise<unknown>): Promise<Run[]> {
  const done: Run[] = [];
  let failure: unknown = null;
  const left = [...runs];
  const worker = async (): Promise<void> => {
    for (let run = left.shift(); run !== undefined; run = left.shift()) {
      try {
        await act(run);
        done.push(run);
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (failure !== null) sayError(failure);
  return done;
}

/** Floats at the bottom and names the exact effect: "Stop 2" of 3 selected. */
export function BulkBar({ org, runs, onClear }: { org: string; runs: readonly Run[]; onClear: () => void }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [asking, ask] = useState(false);
  const [busy, setBusy] = useState(false);
  const able = (action: string): Run[] => runs.filter((run) => run.can.includes(action));
  const stoppable = able("cancel");
  const removable = able("delete");
  const failed = able("retry").filter((run) => run.state !== "SUCCEEDED");
  if (runs.length === 0) return null;

  const refresh = (): void => {
    for (const key of ["runs", "projects", "studies", "trash"])
      void client.invalidateQueries({ queryKey: [key] });
  };
  const each = async (
    chosen: readonly Run[],
    act: (run: Run) => Promise<unknown>,
    told: (done: Run[]) => void,
  ): Promise<void> => {
    setBusy(true);
    const done = await toEach(chosen, act);
    setBusy(false);
    if (done.length > 0) told(done);
    refresh();
  };
  const stop = (): void => {
    ask(false);
    void each(
      stoppable,
      (run) => actOnRun(run.id, "cancel"),
      (done) => say(`Stopping ${plural(done.length, "run")}.`),
    );
  };
  const retry = (): void => {
    void each(
      failed,
      (run) => retryRun(run.id),
      (done) => say(`Queued ${plural(done.length, "run")} again, as new runs.`),
    );
  };
  const bringBack = (gone: readonly Run[]): void => {
    void toEach(gone, (run) => restoreItem(run.id)).then((back) => {
      say(`${plural(back.length, "run")} back from the trash.`);
      refresh();
    });
  };
  const throwAway = (): void => {
    void each(
      removable,
      (run) => throwAwayRun(run.id),
      (done) => {
        onClear();
        say(`${plural(done.length, "run")} in the trash.`, { label: "Undo", run: () => bringBack(done) });
      },
    );
  };

  return (
    <div className="bulk" role="toolbar" aria-label="Selected runs">
      <b>{plural(runs.length, "run")} selected</b>
      <Button look="quiet" icon="bars" hint="C" onClick={() => void navigate(compareUrl(org, runs))}>
        Compare
      </Button>
      {stoppable.length > 0 && (
        <Button look="quiet" icon="stop" disabled={busy} onClick={() => ask(true)}>
          Stop {stoppable.length}
        </Button>
      )}
      {failed.length > 0 && (
        <Button look="quiet" icon="retry" disabled={busy} onClick={retry}>
          Retry {failed.length}
        </Button>
      )}
      {removable.length > 0 && (
        <Button look="quiet" disabled={busy} onClick={throwAway}>
          Move {removable.length} to trash
        </Button>
      )}
      <Button look="quiet" hint="Esc" onClick={onClear}>
        Clear
      </Button>
      {asking && (
        <Dialog
          title={`Stop ${plural(stoppable.length, "run")}?`}
          onClose={() => ask(false)}
          actions={
            <>
              <Button onClick={() => ask(false)}>Keep running</Button>
              <Button look="danger" onClick={stop}>
                Stop {plural(stoppable.length, "run")}
              </Button>
            </>
          }
        >
          <p>Each saves a checkpoint first and ends as cancelled. Points, logs and artifacts stay.</p>
        </Dialog>
      )}
    </div>
  );
}

export function compareUrl(org: string, runs: readonly Run[]): string {
  return `/o/${org}/compare?runs=${runs.map((run) => run.id).join(",")}`;
}
