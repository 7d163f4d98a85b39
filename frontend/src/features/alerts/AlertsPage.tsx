import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { alertEventsQuery, alertsQuery, removeAlert, switchAlert, tryAlert, type Alert } from "@/api/alerts";
import { meQuery } from "@/api/session";
import { plural } from "@/lib/numbers";
import { formatTime } from "@/lib/times";
import { Button } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { say, sayError } from "@/ui/toasts";
import { AlertForm } from "./AlertForm";
import { conditionText } from "./conditions";
import { Webhooks } from "./Webhooks";
import "@/features/org/org.css";

export function AlertsPage() {
  const { org = "" } = useParams();
  const client = useQueryClient();
  const me = useQuery(meQuery);
  const alerts = useQuery(alertsQuery(org));
  const refresh = (): void => {
    for (const key of ["alerts", "alert-events"]) void client.invalidateQueries({ queryKey: [key, org] });
  };
  const role = me.data?.orgs.find((one) => one.slug === org)?.role;
  return (
    <PageFrame title="Alerts">
      <div className="page-body">
        {role !== "viewer" && me.data !== undefined && (
          <AlertForm org={org} email={me.data.user.email} onMade={refresh} />
        )}
        {alerts.isPending && <Skeleton />}
        {alerts.isError && <ErrorNote error={alerts.error} retry={() => void alerts.refetch()} />}
        {alerts.data?.items.length === 0 && (
          <EmptyState>
            No alerts. One tells you by mail or webhook when a run fails, a metric passes a value or becomes
            NaN, or a run goes silent.
          </EmptyState>
        )}
        {(alerts.data?.items ?? []).length > 0 && (
          <div className="card table-scroll">
            <table className="table" aria-label="Alerts">
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">When</th>
                  <th scope="col">In</th>
                  <th scope="col">Tells</th>
                  <th scope="col">Now</th>
                  <th scope="col">
                    <span className="visually-hidden">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {alerts.data?.items.map((alert) => (
                  <Row key={alert.id} org={org} alert={alert} refresh={refresh} />
                ))}
              </tbody>
            </table>
          </div>
        )}
        {(role === "owner" || role === "admin") && <Webhooks org={org} />}
        <h2>What happened</h2>
        <Events org={org} />
      </div>
    </PageFrame>
  );
}

function Row({ org, alert, refresh }: { org: string; alert: Alert; refresh: () => void }) {
  const tells = [
    ...alert.emails,
    ...(alert.webhooks.length > 0 ? [plural(alert.webhooks.length, "webhook")] : []),
  ];
  const act = (work: Promise<unknown>, done: string): void => {
    work
      .then(() => say(done))
      .catch(sayError)
      .finally(refresh);
  };
  return (
    <tr>
      <td>
        <b>{alert.name}</b>
      </td>
      <td>{conditionText(alert.condition)}</td>
      <td className="second">{alert.project ?? "every project"}</td>
      <td className="second">{tells.length === 0 ? "nobody; it is only listed" : tells.join(", ")}</td>
      <td className={alert.enabled && alert.firing > 0 ? "warn-text" : "second"}>
        {!alert.enabled ? "off" : alert.firing > 0 ? `holds for ${plural(alert.firing, "run")}` : "quiet"}
      </td>
      <td>
        <span className="row">
          <Button
            small
            look="quiet"
            onClick={() => act(tryAlert(org, alert.id), "A test message is on its way.")}
          >
            Test
          </Button>
          <Button
            small
            look="quiet"
            onClick={() =>
              act(
                switchAlert(org, alert.id, !alert.enabled),
                `${alert.name} is ${alert.enabled ? "off" : "on"}.`,
              )
            }
          >
            {alert.enabled ? "Switch off" : "Switch on"}
          </Button>
          <Button
            small
            look="quiet"
            onClick={() => act(removeAlert(org, alert.id), `${alert.name} is removed.`)}
          >
            Remove
          </Button>
        </span>
      </td>
    </tr>
  );
}

function Events({ org }: { org: string }) {
  const events = useQuery(alertEventsQuery(org));
  if (events.isPending) return <Skeleton lines={3} />;
  if (events.isError) return <ErrorNote error={events.error} retry={() => void events.refetch()} />;
  if (events.data.items.length === 0) return <EmptyState>Nothing so far.</EmptyState>;
  return (
    <div className="card table-scroll">
      <table className="table" aria-label="Alert events">
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">Alert</th>
            <th scope="col">Message</th>
            <th scope="col">Run</th>
            <th scope="col">Messages</th>
          </tr>
        </thead>
        <tbody>
          {events.data.items.map((event) => (
            <tr key={event.id}>
              <td className="second">{formatTime(event.at)}</td>
              <td>{event.name}</td>
              <td>{event.message}</td>
              <td>{event.run !== null && <Link to={`/o/${org}/runs/${event.run}`}>{event.run}</Link>}</td>
              <td className="second">
                {Object.entries(event.deliveries)
                  .map(([state, count]) => `${count} ${state}`)
                  .join(", ")}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
