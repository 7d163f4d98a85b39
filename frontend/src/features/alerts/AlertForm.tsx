import { useQuery } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import { createAlert, webhooksQuery } from "@/api/alerts";
import { ApiError } from "@/api/http";
import { projectsQuery } from "@/api/orgs";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { conditionOf, emptyDraft, kinds, type Draft } from "./conditions";

export function AlertForm({ org, email, onMade }: { org: string; email: string; onMade: () => void }) {
  const projects = useQuery(projectsQuery(org));
  const webhooks = useQuery(webhooksQuery(org));
  const [name, setName] = useState("");
  const [project, setProject] = useState("");
  const [draft, setDraft] = useState<Draft>(emptyDraft);
  const [emails, setEmails] = useState(email);
  const [webhook, setWebhook] = useState("");
  const [error, setError] = useState<unknown>(null);
  const change = (part: Partial<Draft>): void => setDraft({ ...draft, ...part });
  const said = error instanceof ApiError ? Object.entries(error.fields)[0] : undefined;
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    createAlert(org, {
      name: name.trim(),
      project: project === "" ? null : project,
      condition: conditionOf(draft),
      emails: emails.split(/[\s,;]+/).filter((one) => one !== ""),
      webhooks: webhook === "" ? [] : [webhook],
    })
      .then(() => {
        setName("");
        setError(null);
        onMade();
      })
      .catch((failure: unknown) => setError(failure));
  };
  return (
    <form className="org-add" aria-label="New alert" onSubmit={submit} noValidate>
      <label>
        <span>Name</span>
        <input
          className="input"
          value={name}
          placeholder="Loss explodes"
          onChange={(event) => setName(event.target.value)}
        />
      </label>
      <Choice
        label="When"
        value={draft.kind}
        options={kinds}
        onChange={(kind) => change({ kind: kinds.find(([one]) => one === kind)?.[0] ?? "state" })}
      />
      {draft.kind === "state" && (
        <Choice
          label="State"
          value={draft.states}
          options={[
            ["FAILED_OR_LOST", "failed or lost"],
            ["FAILED", "failed"],
            ["LOST", "lost"],
            ["SUCCEEDED", "succeeded"],
          ]}
          onChange={(states) => change({ states: states as Draft["states"] })}
        />
      )}
      {(draft.kind === "metric" || draft.kind === "divergence") && (
        <label>
          <span>Metric</span>
          <input
            className="input"
            value={draft.key}
            placeholder={draft.kind === "metric" ? "train/loss" : "any"}
            onChange={(event) => change({ key: event.target.value })}
          />
        </label>
      )}
      {draft.kind === "metric" && (
        <>
          <Choice
            label="Is"
            value={draft.op}
            options={[
              ["gt", "above"],
              ["lt", "below"],
            ]}
            onChange={(op) => change({ op: op === "lt" ? "lt" : "gt" })}
          />
          <label>
            <span>Value</span>
            <input
              className="input"
              inputMode="decimal"
              value={draft.threshold}
              onChange={(event) => change({ threshold: event.target.value })}
            />
          </label>
        </>
      )}
      {draft.kind === "silence" && (
        <label>
          <span>Minutes</span>
          <input
            className="input"
            inputMode="numeric"
            value={draft.minutes}
            onChange={(event) => change({ minutes: event.target.value })}
          />
        </label>
      )}
      <Choice
        label="In"
        value={project}
        options={[
          ["", "every project"],
          ...(projects.data?.items ?? []).map((one) => [one.slug, one.slug] as const),
        ]}
        onChange={setProject}
      />
      <label>
        <span>Mail to</span>
        <input className="input" value={emails} onChange={(event) => setEmails(event.target.value)} />
      </label>
      {(webhooks.data?.items ?? []).length > 0 && (
        <Choice
          label="Webhook"
          value={webhook}
          options={[["", "none"], ...(webhooks.data?.items ?? []).map((one) => [one.id, one.name] as const)]}
          onChange={setWebhook}
        />
      )}
      <Button type="submit" look="primary">
        Make alert
      </Button>
      {error !== null && (
        <p className="bad-text org-add-error" role="alert">
          {said === undefined
            ? error instanceof Error
              ? error.message
              : "It failed."
            : `${said[0]}: ${said[1]}`}
        </p>
      )}
    </form>
  );
}

function Choice({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: string;
  options: readonly (readonly [string, string])[];
  onChange: (value: string) => void;
}) {
  return (
    <label>
      <span>{label}</span>
      <span className="select-frame">
        <select className="select" value={value} onChange={(event) => onChange(event.target.value)}>
          {options.map(([key, text]) => (
            <option key={key} value={key}>
              {text}
            </option>
          ))}
        </select>
        <Icon name="chevronDown" size={14} />
      </span>
    </label>
  );
}
