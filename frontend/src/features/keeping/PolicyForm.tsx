import { useQueryClient } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import { ApiError } from "@/api/http";
import { setStoragePolicy, type StoragePolicy } from "@/api/keeping";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { say } from "@/ui/toasts";

type Count = "retain_days" | "keep_last" | "keep_best" | "keep_every";
const counts: readonly (readonly [Count, string, string])[] = [
  ["retain_days", "Days until a finished run is thrown away", "for ever"],
  ["keep_last", "Checkpoints: the last", "all"],
  ["keep_best", "Checkpoints: the best", "none"],
  ["keep_every", "Checkpoints: every so many steps", "none"],
];

const textOf = (value: number | null | undefined): string =>
  value === null || value === undefined ? "" : String(value);

export function PolicyForm({ org, policy }: { org: string; policy: StoragePolicy }) {
  const client = useQueryClient();
  const [texts, setTexts] = useState<Readonly<Record<Count, string>>>({
    retain_days: textOf(policy.retain_days),
    keep_last: textOf(policy.keep_last),
    keep_best: textOf(policy.keep_best),
    keep_every: textOf(policy.keep_every),
  });
  const [metric, setMetric] = useState(policy.best_metric ?? "");
  const [goal, setGoal] = useState(policy.best_goal ?? "min");
  const [error, setError] = useState<unknown>(null);
  const said = error instanceof ApiError ? (Object.values(error.fields)[0] ?? error.message) : null;
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const number = (name: Count): number | null => (texts[name].trim() === "" ? null : Number(texts[name]));
    setStoragePolicy(org, {
      retain_days: number("retain_days"),
      keep_last: number("keep_last"),
      keep_best: number("keep_best"),
      keep_every: number("keep_every"),
      best_metric: metric.trim(),
      best_goal: goal,
    })
      .then((storage) => {
        client.setQueryData(["storage", org], storage);
        setError(null);
        say("The policy holds from now on.");
      })
      .catch((failure: unknown) => setError(failure));
  };
  return (
    <form className="org-add" aria-label="Storage policy" onSubmit={submit} noValidate>
      {counts.map(([name, label, empty]) => (
        <label key={name}>
          <span>{label}</span>
          <input
            className="input"
            inputMode="numeric"
            value={texts[name]}
            placeholder={empty}
            onChange={(event) => setTexts({ ...texts, [name]: event.target.value })}
          />
        </label>
      ))}
      <label>
        <span>Best by metric</span>
        <input
          className="input"
          value={metric}
          placeholder="eval/loss"
          onChange={(event) => setMetric(event.target.value)}
        />
      </label>
      <label>
        <span>Best is the</span>
        <span className="select-frame">
          <select
            className="select"
            value={goal}
            onChange={(event) => setGoal(event.target.value === "max" ? "max" : "min")}
          >
            <option value="min">lowest</option>
            <option value="max">highest</option>
          </select>
          <Icon name="chevronDown" size={14} />
        </span>
      </label>
      <Button type="submit" look="primary">
        Save policy
      </Button>
      {said !== null && (
        <p className="bad-text org-add-error" role="alert">
          {said}
        </p>
      )}
    </form>
  );
}
