import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { endRun, putArtifact, takeOver, type EndState } from "@/api/external";
import type { Run } from "@/api/types";
import { plural } from "@/lib/numbers";
import { randomKey } from "@/lib/randomKey";
import { isOver } from "@/lib/runStates";
import { Progress } from "@/ui/Progress";
import { say, sayError } from "@/ui/toasts";

const endings: readonly string[] = ["SUCCEEDED", "FAILED", "CANCELLED"];

/**
 * Files for a run that a script logged. One that has ended is opened for them and ends again as it did; one that is
 * alive keeps its writer.
 */
export function UploadFiles({ run }: { run: Run }) {
  const client = useQueryClient();
  const [sending, setSending] = useState<{ name: string; share: number } | null>(null);
  const send = async (files: readonly File[]): Promise<void> => {
    const ended = isOver(run.state);
    let epoch = run.epoch;
    try {
      if (ended) epoch = await takeOver(run.id, `upload-${randomKey()}`);
      for (const file of files) {
        setSending({ name: file.name, share: 0 });
        await putArtifact(run.id, epoch, file.name, file, (share) => setSending({ name: file.name, share }));
      }
      say(`${plural(files.length, "file")} added.`);
    } catch (error) {
      sayError(error);
    } finally {
      if (ended && endings.includes(run.state)) await endRun(run.id, run.state as EndState).catch(sayError);
      setSending(null);
      void client.invalidateQueries({ queryKey: ["run", run.id] });
    }
  };
  return (
    <div className="row upload-files">
      <label className="button button-plain" aria-disabled={sending !== null}>
        Add files
        <input
          type="file"
          multiple
          className="visually-hidden"
          aria-label="Files to add"
          disabled={sending !== null}
          onChange={(event) => {
            const files = [...(event.target.files ?? [])];
            event.target.value = "";
            if (files.length > 0) void send(files);
          }}
        />
      </label>
      {sending !== null && (
        <>
          <Progress share={sending.share} label={`Upload of ${sending.name}`} />
          <span className="second">{sending.name}</span>
        </>
      )}
    </div>
  );
}
