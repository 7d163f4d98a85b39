import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useParams } from "react-router";
import { quotasQuery, usageQuery } from "@/api/orgs";
import type { UsageRow } from "@/api/types";
import { formatValue, plural, THIN_SPACE } from "@/lib/numbers";
import { formatDay, formatDuration } from "@/lib/times";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { QuotaBar } from "@/ui/Progress";
import { Segmented } from "@/ui/Segmented";
import "./org.css";

type Span = "7" | "30" | "90";
const DAY_MS = 86_400_000;

export function UsagePage() {
  const { org = "" } = useParams();
  const [span, setSpan] = useState<Span>("30");
  const [today] = useState(() => new Date());
  const day = (ago: number): string => new Date(today.getTime() - ago * DAY_MS).toISOString().slice(0, 10);
  const quotas = useQuery(quotasQuery(org));
  const usage = useQuery(usageQuery(org, day(Number(span) - 1), day(-1)));
  const days = Array.from({ length: Number(span) }, (_, at) => day(Number(span) - 1 - at));
  const kinds = [...new Set((usage.data?.items ?? []).map((row) => row.kind))].sort();
  return (
    <PageFrame title="Quota and usage">
      <div className="page-body">
        <section className="card" aria-label="Quotas">
          <header className="card-head">
            <h2>Quotas</h2>
            <span className="quiet">bar: devices in use, bracket: maximum</span>
          </header>
          {quotas.isPending && <Skeleton lines={2} />}
          {quotas.isError && <ErrorNote error={quotas.error} retry={() => void quotas.refetch()} />}
          {quotas.data?.items.length === 0 && (
            <EmptyState>No devices are attached and no quota is set.</EmptyState>
          )}
          {quotas.data !== undefined && quotas.data.items.length > 0 && (
            <table className="table">
              <thead>
                <tr>
                  <th scope="col">Kind</th>
                  <th scope="col" className="quota-column">
                    <span className="visually-hidden">Bar</span>
                  </th>
                  <th scope="col" className="number">
                    In use
                  </th>
                  <th scope="col" className="number">
                    Maximum
                  </th>
                  <th scope="col" className="number">
                    Attached
                  </th>
                  <th scope="col" className="number">
                    Waiting
                  </th>
                </tr>
              </thead>
              <tbody>
                {quotas.data.items.map((quota) => {
                  const most = quota.max_devices ?? quota.capacity;
                  return (
                    <tr key={quota.kind}>
                      <td>
                        <b>{quota.kind}</b>
                      </td>
                      <td>
                        <QuotaBar
                          inUse={quota.in_use}
                          guaranteed={most}
                          max={most}
                          scale={Math.max(quota.capacity, most)}
                          label={`${quota.in_use} of ${most} ${quota.kind} in use`}
                        />
                      </td>
                      <td className="number">{quota.in_use}</td>
                      <td className="number">
                        {quota.max_devices ?? <span className="quiet">no limit</span>}
                      </td>
                      <td className="number">{quota.capacity}</td>
                      <td className="number">{quota.waiting}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          )}
        </section>
        <section className="card" aria-label="Device time">
          <header className="card-head">
            <h2>Device time</h2>
            <span className="quiet">a day, UTC</span>
            <span className="spacer" />
            <Segmented
              label="Days shown"
              value={span}
              options={[
                ["7", "7 d"],
                ["30", "30 d"],
                ["90", "90 d"],
              ]}
              onChange={setSpan}
            />
          </header>
          {usage.isPending && <Skeleton lines={4} />}
          {usage.isError && <ErrorNote error={usage.error} retry={() => void usage.refetch()} />}
          {usage.isSuccess && kinds.length === 0 && (
            <EmptyState>No device time was used in {plural(Number(span), "day")}.</EmptyState>
          )}
          {kinds.map((kind) => (
            <DayBars
              key={kind}
              kind={kind}
              days={days}
              rows={(usage.data?.items ?? []).filter((row) => row.kind === kind)}
            />
          ))}
        </section>
      </div>
    </PageFrame>
  );
}

/** Device time: hours, or minutes where it is less than one. */
function deviceTime(hours: number): string {
  return hours < 1 ? formatDuration(hours * 3600) : `${formatValue(hours)}${THIN_SPACE}h`;
}

const W = 1000;
const H = 96;

/** Bars from zero, one a day; the day and its hours in each bar's title and in the sentence. */
function DayBars({ kind, days, rows }: { kind: string; days: readonly string[]; rows: readonly UsageRow[] }) {
  const hours = days.map(
    (day) => rows.filter((row) => row.day === day).reduce((sum, row) => sum + row.device_seconds, 0) / 3600,
  );
  const most = Math.max(...hours, 1e-9);
  const total = hours.reduce((sum, value) => sum + value, 0);
  const width = W / days.length;
  const sentence = `${kind}: ${deviceTime(total)} of device time in ${plural(days.length, "day")}, at most ${deviceTime(most)} on one day.`;
  return (
    <div className="day-bars">
      <p>
        <b>{kind}</b>{" "}
        <span className="second">
          {deviceTime(total)} in all, at most {deviceTime(most)} on one day
        </span>
      </p>
      <svg viewBox={`0 0 ${W} ${H}`} preserveAspectRatio="none" role="img" aria-label={sentence}>
        {hours.map((value, at) => (
          <rect
            key={days[at]}
            x={at * width + 1}
            width={Math.max(1, width - 2)}
            y={H - (value / most) * (H - 4)}
            height={(value / most) * (H - 4)}
          >
            <title>{`${formatDay(days[at] ?? "")}: ${deviceTime(value)}`}</title>
          </rect>
        ))}
      </svg>
      <div className="day-axis">
        <span>{formatDay(days[0] ?? "")}</span>
        <span>{formatDay(days.at(-1) ?? "")}</span>
      </div>
    </div>
  );
}
