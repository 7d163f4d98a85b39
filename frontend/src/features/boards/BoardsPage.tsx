import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { benchmarksQuery } from "@/api/benchmarks";
import { currentOrg } from "@/api/scope";
import { useMe } from "@/api/session";
import { formatValue, plural } from "@/lib/numbers";
import { LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import "./boards.css";

export function BoardsPage() {
  const me = useMe();
  const org = me?.orgs.find((one) => one.slug === currentOrg()) ?? me?.orgs[0];
  const slug = org?.slug ?? "";
  const boards = useQuery({ ...benchmarksQuery(slug), enabled: slug !== "" });
  const mayMake = org?.can.includes("benchmark.manage") === true;
  const make = (
    <LinkButton to="/leaderboards/new" icon="plus" look="primary">
      Make a leaderboard
    </LinkButton>
  );
  return (
    <PageFrame
      title="Leaderboards"
      actions={
        <>
          <LinkButton to="/leaderboards/scores" icon="bars">
            Scores over several
          </LinkButton>
          {mayMake && make}
        </>
      }
    >
      <div className="page-body">
        {boards.isPending && <Skeleton />}
        {boards.isError && <ErrorNote error={boards.error} retry={() => void boards.refetch()} />}
        {boards.data?.items.length === 0 && (
          <EmptyState action={mayMake ? make : undefined}>
            No leaderboards. One freezes a part of a recipe&apos;s spec and ranks what is left free by one
            metric.
          </EmptyState>
        )}
        {boards.data !== undefined && boards.data.items.length > 0 && (
          <div className="card table-scroll">
            <table className="table" aria-label="Leaderboards">
              <thead>
                <tr>
                  <th scope="col">Leaderboard</th>
                  <th scope="col">Recipe</th>
                  <th scope="col">Metric</th>
                  <th scope="col" className="number">
                    Target
                  </th>
                  <th scope="col" className="number">
                    Seeds
                  </th>
                  <th scope="col" className="number">
                    Frozen
                  </th>
                  <th scope="col" className="number">
                    Version
                  </th>
                </tr>
              </thead>
              <tbody>
                {boards.data.items.map((board) => (
                  <tr key={board.id}>
                    <td>
                      <Link to={`/leaderboards/${board.id}`}>
                        <b>{board.name}</b>
                      </Link>
                    </td>
                    <td className="mono">{board.recipe}</td>
                    <td>
                      {board.metric}{" "}
                      <span className="quiet">
                        {board.goal === "min" ? "lower is better" : "higher is better"}
                      </span>
                    </td>
                    <td className="number">{board.target === null ? "–" : formatValue(board.target)}</td>
                    <td className="number">{board.seeds}</td>
                    <td className="number">{plural(Object.keys(board.frozen).length, "value")}</td>
                    <td className="number">{board.version}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </div>
    </PageFrame>
  );
}
