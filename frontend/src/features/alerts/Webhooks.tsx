import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import {
  createWebhook,
  deliveriesQuery,
  removeWebhook,
  tryWebhook,
  webhooksQuery,
  type WebhookSecret,
} from "@/api/alerts";
import { ApiError } from "@/api/http";
import { Secret } from "@/features/org/MembersPage";
import { formatTime } from "@/lib/times";
import { Button } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { say, sayError } from "@/ui/toasts";

export function Webhooks({ org }: { org: string }) {
  const client = useQueryClient();
  const webhooks = useQuery(webhooksQuery(org));
  const [made, setMade] = useState<WebhookSecret | null>(null);
  const [open, setOpen] = useState<string | null>(null);
  const refresh = (): void => void client.invalidateQueries({ queryKey: ["webhooks", org] });
  return (
    <>
      <h2>Webhooks</h2>
      <MakeWebhook
        org={org}
        onMade={(webhook) => {
          setMade(webhook);
          refresh();
        }}
      />
      {made !== null && (
        <Secret title={`Signing secret of ${made.name}`} secret={made.secret} onClose={() => setMade(null)} />
      )}
      {webhooks.isError && <ErrorNote error={webhooks.error} retry={() => void webhooks.refetch()} />}
      {(webhooks.data?.items ?? []).length > 0 && (
        <div className="card table-scroll">
          <table className="table" aria-label="Webhooks">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Address</th>
                <th scope="col">Made</th>
                <th scope="col">
                  <span className="visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {webhooks.data?.items.map((webhook) => (
                <tr key={webhook.id}>
                  <td>
                    <b>{webhook.name}</b> {!webhook.enabled && <span className="quiet">off</span>}
                  </td>
                  <td className="mono">{webhook.url === "" ? webhook.host : webhook.url}</td>
                  <td className="second">{formatTime(webhook.created_at)}</td>
                  <td>
                    <span className="row">
                      <Button
                        small
                        look="quiet"
                        onClick={() => {
                          tryWebhook(org, webhook.id)
                            .then(() => setOpen(webhook.id))
                            .catch(sayError);
                        }}
                      >
                        Test
                      </Button>
                      <Button
                        small
                        look="quiet"
                        aria-pressed={open === webhook.id}
                        onClick={() => setOpen(open === webhook.id ? null : webhook.id)}
                      >
                        Deliveries
                      </Button>
                      <Button
                        small
                        look="quiet"
                        onClick={() => {
                          removeWebhook(org, webhook.id)
                            .then(() => say(`${webhook.name} is removed.`))
                            .catch(sayError)
                            .finally(refresh);
                        }}
                      >
                        Remove
                      </Button>
                    </span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {open !== null && <Deliveries org={org} webhook={open} />}
    </>
  );
}

function Deliveries({ org, webhook }: { org: string; webhook: string }) {
  const deliveries = useQuery(deliveriesQuery(org, webhook));
  if (deliveries.isPending) return <Skeleton lines={3} />;
  if (deliveries.isError) return <ErrorNote error={deliveries.error} />;
  if (deliveries.data.items.length === 0) return <EmptyState>Nothing was sent to it yet.</EmptyState>;
  return (
    <div className="card table-scroll">
      <table className="table" aria-label="Deliveries">
        <thead>
          <tr>
            <th scope="col">Message</th>
            <th scope="col">State</th>
            <th scope="col">Last try</th>
            <th scope="col">Next try</th>
          </tr>
        </thead>
        <tbody>
          {deliveries.data.items.map((delivery) => {
            const last = delivery.log[delivery.log.length - 1];
            return (
              <tr key={delivery.id}>
                <td className="mono">{delivery.id}</td>
                <td className={delivery.state === "dead" ? "bad-text" : "second"}>{delivery.state}</td>
                <td className="second">
                  {last === undefined
                    ? "not tried yet"
                    : `${formatTime(last.at)}: ${last.status ?? ""} ${last.error}`.trim()}
                </td>
                <td className="second">{delivery.next_at === null ? "" : formatTime(delivery.next_at)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function MakeWebhook({ org, onMade }: { org: string; onMade: (webhook: WebhookSecret) => void }) {
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [error, setError] = useState<unknown>(null);
  const said = error instanceof ApiError ? (Object.values(error.fields)[0] ?? error.message) : null;
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    createWebhook(org, { name: name.trim(), url: url.trim() })
      .then((webhook) => {
        setName("");
        setUrl("");
        setError(null);
        onMade(webhook);
      })
      .catch((failure: unknown) => setError(failure));
  };
  return (
    <form className="org-add" aria-label="New webhook" onSubmit={submit} noValidate>
      <label>
        <span>Name</span>
        <input className="input" value={name} onChange={(event) => setName(event.target.value)} />
      </label>
      <label className="org-add-wide">
        <span>Address</span>
        <input
          className="input"
          type="url"
          value={url}
          placeholder="https://example.org/hook"
          aria-invalid={said !== null}
          onChange={(event) => setUrl(event.target.value)}
        />
      </label>
      <Button type="submit">Add webhook</Button>
      {said !== null && (
        <p className="bad-text org-add-error" role="alert">
          {said}
        </p>
      )}
    </form>
  );
}
