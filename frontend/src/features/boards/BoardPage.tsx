import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useNavigate, useParams } from "react-router";
import { benchmarkQuery, deleteBenchmark } from "@/api/benchmarks";
import { useOrg } from "@/api/session";
import type { BenchmarkDetail } from "@/api/types";
import { live } from "@/lib/live";
import { Button, LinkButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { say, sayError } from "@/ui/toasts";
import "./boards.css";
import { EditBoard } from "./EditBoard";
import { Ranking } from "./Ranking";

export function BoardPage() {
  const { benchmark = "" } = useParams();
  const client = useQueryClient();
  const board = useQuery(benchmarkQuery(benchmark));
  useEffect(
    () =>
      live.watch({ topic: "benchmark", id: benchmark }, (message) => {
        if ("benchmark" in message) void client.invalidateQueries({ queryKey: ["benchmark", benchmark] });
      }),
    [client, benchmark],
  );
  return (
    <PageFrame
      headed={board.data !== undefined}
      title={board.data?.name ?? "Leaderboard"}
      crumbs={[{ text: "Leaderboards", to: "/leaderboards" }]}
      followsLive
      actions={board.data !== undefined && <BoardActions board={board.data} />}
    >
      <div className="page-body">
        {board.isPending && <Skeleton lines={8} />}
        {board.isError && <ErrorNote error={board.error} retry={() => void board.refetch()} />}
        {board.data !== undefined && <Ranking board={board.data} />}
      </div>
    </PageFrame>
  );
}

function BoardActions({ board }: { board: BenchmarkDetail }) {
  const org = useOrg(board.org);
  const navigate = useNavigate();
  const [asking, ask] = useState(false);
  const [editing, edit] = useState(false);
  return (
    <>
      {org?.can.includes("benchmark.manage") === true && (
        <>
          <Button look="quiet" onClick={() => ask(true)}>
            Delete
          </Button>
          <Button onClick={() => edit(true)}>Edit</Button>
        </>
      )}
      <LinkButton to={`/o/${board.org}/submit/${board.recipe}`} look="primary" icon="plus">
        Enter a run or study
      </LinkButton>
      {editing && <EditBoard board={board} onClose={() => edit(false)} />}
      {asking && (
        <Dialog
          title={`Delete the leaderboard ${board.name}?`}
          onClose={() => ask(false)}
          actions={
            <>
              <Button onClick={() => ask(false)}>Keep it</Button>
              <Button
                look="danger"
                onClick={() => {
                  deleteBenchmark(board.id)
                    .then(() => {
                      say("Leaderboard deleted.");
                      return navigate("/leaderboards");
                    })
                    .catch(sayError);
                }}
              >
                Delete the leaderboard
              </Button>
            </>
          }
        >
          <p>Its runs stay. Rankings are computed from them, so nothing else is lost.</p>
        </Dialog>
      )}
    </>
  );
}
