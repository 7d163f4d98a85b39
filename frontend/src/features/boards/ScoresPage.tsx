import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { benchmarksQuery, scoresQuery } from "@/api/benchmarks";
import { currentOrg } from "@/api/scope";
import { useMe } from "@/api/session";
import type { Benchmark, Scores } from "@/api/types";
import { formatFixed, formatInteger } from "@/lib/numbers";
import { useUrlState } from "@/lib/urlState";
import { Icon } from "@/ui/Icon";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { Swatch } from "@/ui/Swatch";
import "./boards.css";
import { ProfileChart } from "./ProfileChart";

const BY = "optimizer.kind";

/** Methods over several leaderboards: the performance profile, the area under it, and the times behind it. */
export function ScoresPage() {
  const url = useUrlState();
  const me = useMe();
  const org = me?.orgs.find((one) => one.slug === currentOrg()) ?? me?.orgs[0];
  const slug = org?.slug ?? "";
  const boards = useQuery({ ...benchmarksQuery(slug), enabled: slug !== "" });
  const eligible = (boards.data?.items ?? []).filter((board) => board.target !== null);
  const asked = url.list("boards");
  const chosen = asked.length > 0 ? asked : eligible.map((board) => board.id).slice(0, 50);
  const method = url.get("by") === "" ? BY : url.get("by");
  const reference = url.get("against");
  const scores = useQuery({
    ...scoresQuery(slug, chosen, method, reference),
    enabled: chosen.length > 0,
    placeholderData: keepPreviousData,
  });
  const flip = (id: string): void =>
    url.set({ boards: chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id] });
  return (
    <PageFrame headed title="Scores" crumbs={[{ text: "Leaderboards", to: "/leaderboards" }]}>
      <div className="page-body">
        <header className="board-head">
          <h1>Scores over leaderboards</h1>
          <p className="second">
            A method&apos;s time on a leaderboard is the median over seeds of the steps its best trial took to
            the target; a miss is infinite and counts. The score is the area under the performance profile
            from 1 to 4 times the fastest, as AlgoPerf has it. It changes when a method is added.
          </p>
        </header>
        {boards.isPending && <Skeleton />}
        {boards.isError && <ErrorNote error={boards.error} retry={() => void boards.refetch()} />}
        {boards.isSuccess && eligible.length === 0 && (
          <EmptyState>No leaderboard has a target. Without one there is no time to it.</EmptyState>
        )}
        {eligible.length > 0 && (
          <div className="row scores-tools">
            <span className="quiet">Leaderboards</span>
            {eligible.map((board: Benchmark) => (
              <button
                key={board.id}
                type="button"
                className="filter"
                aria-pressed={chosen.includes(board.id)}
                onClick={() => flip(board.id)}
              >
                {board.name} {board.version > 1 && <span className="quiet">v{board.version}</span>}
              </button>
            ))}
            <label className="row">
              <span className="quiet">Methods by</span>
              <input
                className="input scores-by"
                defaultValue={method}
                aria-label="Path of the spec by which methods are told apart"
                onBlur={(event) =>
                  url.set({
                    by: event.target.value.trim() === BY ? null : event.target.value.trim(),
                    against: null,
                  })
                }
              />
            </label>
            <label className="row">
              <span className="quiet">Speed-up over</span>
              <span className="select-frame">
                <select
                  className="select scores-against"
                  value={reference}
                  onChange={(event) => url.set({ against: event.target.value || null })}
                >
                  <option value="">nobody</option>
                  {reference !== "" &&
                    scores.data?.methods.some((row) => row.method === reference) !== true && (
                      <option>{reference}</option>
                    )}
                  {scores.data?.methods.map((row) => (
                    <option key={row.method}>{row.method}</option>
                  ))}
                </select>
                <Icon name="chevronDown" size={14} />
              </span>
            </label>
          </div>
        )}
        {scores.isError && <ErrorNote error={scores.error} />}
        {scores.data !== undefined && scores.data.methods.length === 0 && (
          <EmptyState>No finished run has a value at {method}.</EmptyState>
        )}
        {scores.data !== undefined && scores.data.methods.length > 0 && (
          <>
            <ProfileChart scores={scores.data} />
            <ScoreTable scores={scores.data} reference={reference} />
          </>
        )}
      </div>
    </PageFrame>
  );
}

function ScoreTable({ scores, reference }: { scores: Scores; reference: string }) {
  return (
    <div className="card table-scroll">
      <table className="table" aria-label="Scores">
        <thead>
          <tr>
            <th scope="col">Method</th>
            <th scope="col" className="number">
              Score
            </th>
            {reference !== "" && (
              <th
                scope="col"
                className="number"
                title="Geometric mean over the leaderboards where both arrived"
              >
                Speed-up <span className="quiet">over {reference}</span>
              </th>
            )}
            {scores.workloads.map((workload) => (
              <th scope="col" className="number" key={workload.benchmark}>
                <Link to={`/leaderboards/${workload.benchmark}`}>{workload.name}</Link>{" "}
                <span className="quiet">steps</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {scores.methods.map((row, at) => (
            <tr key={row.method}>
              <td>
                <span className="board-entry">
                  <Swatch index={at} />
                  <b>{row.method}</b>
                </span>
              </td>
              <td className="number">
                <b>{formatFixed(row.score, 3)}</b>
              </td>
              {reference !== "" && (
                <td className="number">{row.speedup === null ? "–" : `${formatFixed(row.speedup, 2)} ×`}</td>
              )}
              {scores.workloads.map((workload) => {
                const on = workload.methods[row.method];
                return (
                  <td
                    className="number"
                    key={workload.benchmark}
                    title={on === undefined ? "" : `${on.trials} trials, ${on.studies} seeds`}
                  >
                    {on === undefined || on.studies === 0 ? (
                      <span className="quiet">not run</span>
                    ) : on.steps === null || on.ratio === null ? (
                      "not reached"
                    ) : (
                      <>
                        {formatInteger(on.steps)} <span className="quiet">× {formatFixed(on.ratio, 2)}</span>
                      </>
                    )}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
