import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { editRun } from "@/api/runs";
import type { Run } from "@/api/types";
import { Button } from "@/ui/Button";
import { EmptyState } from "@/ui/Notes";
import { say, sayError } from "@/ui/toasts";

export function NotesTab({ run }: { run: Run }) {
  const client = useQueryClient();
  const [text, setText] = useState(run.notes);
  if (!run.can.includes("edit")) {
    return run.notes === "" ? <EmptyState>No notes.</EmptyState> : <p className="notes-text">{run.notes}</p>;
  }
  return (
    <form
      className="notes"
      onSubmit={(event) => {
        event.preventDefault();
        editRun(run.id, { notes: text })
          .then((next) => {
            client.setQueryData(["run", run.id], next);
            say("Notes saved.");
          })
          .catch(sayError);
      }}
    >
      <textarea
        className="textarea"
        rows={12}
        aria-label="Notes"
        placeholder="What was tried, what was seen, what comes next"
        value={text}
        maxLength={20_000}
        onChange={(event) => setText(event.target.value)}
      />
      <Button type="submit" look="primary" disabled={text === run.notes}>
        Save notes
      </Button>
    </form>
  );
}
