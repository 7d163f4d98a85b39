import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { actOnRun } from "@/api/runs";
import type { Run } from "@/api/types";
import { plural } from "@/lib/numbers";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { say, sayError } from "@/ui/toasts";

/** Floats at the bottom and names the exact effect: "Stop 2" of 3 selected. */
export function BulkBar({ org, runs, onClear }: { org: string; runs: readonly Run[]; onClear: () => void }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [asking, ask] = useState(false);
  const stoppable = runs.filter((run) => run.can.includes("cancel"));
  if (runs.length === 0) return null;

  const stop = (): void => {
    ask(false);
    Promise.all(stoppable.map((run) => actOnRun(run.id, "cancel")))
      .then(() => say(`Stopping ${plural(stoppable.length, "run")}.`))
      .catch(sayError)
      .finally(() => void client.invalidateQueries({ queryKey: ["runs"] }));
  };

  return (
    <div className="bulk" role="toolbar" aria-label="Selected runs">
      <b>{plural(runs.length, "run")} selected</b>
      <Button look="quiet" icon="bars" hint="C" onClick={() => void navigate(compareUrl(org, runs))}>
        Compare
      </Button>
      {stoppable.length > 0 && (
        <Button look="quiet" icon="stop" onClick={() => ask(true)}>
          Stop {stoppable.length}
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
