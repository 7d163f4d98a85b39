import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import { changeBenchmark } from "@/api/benchmarks";
import { ApiError } from "@/api/http";
import { recipeQuery } from "@/api/recipes";
import type { BenchmarkDetail } from "@/api/types";
import { parseNumber } from "@/forms/validate";
import { formatValue } from "@/lib/numbers";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { ErrorNote } from "@/ui/Notes";
import { say } from "@/ui/toasts";
import "@/forms/forms.css";
import { ColumnsField, MOST_COLUMNS } from "./ColumnsField";

/** What may change after a leaderboard was made: its words, its columns, and a target that it does not have yet. */
export function EditBoard({ board, onClose }: { board: BenchmarkDetail; onClose: () => void }) {
  const client = useQueryClient();
  const recipe = useQuery(recipeQuery(board.recipe));
  const [description, setDescription] = useState(board.description);
  const [target, setTarget] = useState("");
  const [columns, setColumns] = useState<readonly string[]>(board.columns);
  const [error, setError] = useState<unknown>(null);
  const wrong = error instanceof ApiError ? error.fields["target"] : undefined;

  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const value = parseNumber(target);
    if (target.trim() !== "" && value === null) {
      setError(
        new ApiError(422, { message: "The target is a number.", fields: { target: "Not a number." } }),
      );
      return;
    }
    changeBenchmark(board.id, {
      description: description.trim(),
      columns: [...columns],
      ...(value === null ? {} : { target: value }),
    })
      .then(() => {
        void client.invalidateQueries({ queryKey: ["benchmark", board.id] });
        void client.invalidateQueries({ queryKey: ["benchmarks", board.org] });
        say("Leaderboard changed.");
        onClose();
      })
      .catch((failure: unknown) => setError(failure));
  };
  return (
    <Dialog title={`Edit ${board.name}`} onClose={onClose} wide>
      <form className="board-edit" onSubmit={submit} noValidate>
        <label>
          <span>Description</span>
          <textarea
            className="input"
            rows={3}
            value={description}
            onChange={(event) => setDescription(event.target.value)}
          />
        </label>
        {board.target === null ? (
          <label>
            <span>Target</span>
            <input
              className="input"
              value={target}
              aria-invalid={wrong !== undefined}
              onChange={(event) => setTarget(event.target.value)}
            />
            <span className={wrong === undefined ? "form-help" : "form-help form-error"}>
              {wrong ?? "Once set it stays: steps to another target do not compare."}
            </span>
          </label>
        ) : (
          <p className="second">
            The target {formatValue(board.target)} is frozen in version {board.version}. A leaderboard made
            under the same name is the next version.
          </p>
        )}
        <fieldset>
          <legend>Beside the rank, up to {MOST_COLUMNS}</legend>
          {recipe.data !== undefined && (
            <ColumnsField
              metrics={recipe.data.metrics}
              ranked={board.metric}
              chosen={columns}
              onChange={setColumns}
            />
          )}
        </fieldset>
        {error !== null && wrong === undefined && <ErrorNote error={error} />}
        <div className="dialog-actions">
          <Button onClick={onClose}>Close</Button>
          <Button type="submit" look="primary">
            Save
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
