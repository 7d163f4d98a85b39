import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "react-router";
import { recipesQuery } from "@/api/recipes";
import { activeFilter, orgRunsQuery } from "@/api/runs";
import { currentOrg } from "@/api/scope";
import { useMe } from "@/api/session";
import type { Recipe, Run } from "@/api/types";
import { byRank } from "@/features/runs/ActivePage";
import { RunList } from "@/features/runs/RunList";
import { useOrgLive } from "@/features/runs/useOrgLive";
import { useNow } from "@/lib/clock";
import { isActive, isWaiting } from "@/lib/runStates";
import { formatDuration, formatTime } from "@/lib/times";
import { LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import "./home.css";

const visitKey = "stillroom.visit";
const VISIT_GAP_MS = 30 * 60_000;

/** When the previous visit ended; a visit lasts while pages are opened within half an hour. */
function previousVisit(): string {
  const now = Date.now();
  const [started = "", last = ""] = (localStorage.getItem(visitKey) ?? "").split("|");
  const fresh = last !== "" && now - Number(last) < VISIT_GAP_MS;
  const since = fresh ? started : last === "" ? "0" : last;
  localStorage.setItem(visitKey, `${since}|${now}`);
  return since;
}

export function HomePage() {
  const me = useMe();
  const org = me?.orgs.find((one) => one.slug === currentOrg())?.slug ?? me?.orgs[0]?.slug ?? "";
  const [since] = useState(previousVisit);
  useNow(10_000);
  useOrgLive(org);
  const runs = useQuery({ ...orgRunsQuery(org, { sort: "-created_at" }), enabled: org !== "" });
  // Alone, since many finished ones may be newer than what runs for days.
  const alive = useQuery({ ...orgRunsQuery(org, activeFilter), enabled: org !== "" });
  const broken = useQuery({
    ...orgRunsQuery(org, { state: ["FAILED", "LOST"], sort: "-created_at" }),
    enabled: org !== "",
  });
  const items = runs.data?.items ?? [];
  const living = alive.data?.items ?? [];
  const ended = (run: Run): number => Date.parse(run.ended_at ?? "") || 0;
  const sinceMs = Number(since);
  const failed = (broken.data?.items ?? []).filter((run) => ended(run) >= sinceMs).slice(0, 20);
  const waiting = living.filter((run) => isWaiting(run.state)).sort(byRank);
  const running = living.filter((run) => isActive(run.state));
  const finished = items.filter((run) => run.state === "SUCCEEDED").slice(0, 12);
  useEffect(() => {
    const timer = window.setInterval(previousVisit, VISIT_GAP_MS / 2);
    return () => window.clearInterval(timer);
  }, []);
  const sections: readonly (readonly [string, readonly Run[]])[] = [
    [sinceMs > 0 ? `Failed since ${formatTime(new Date(sinceMs).toISOString())}` : "Failed", failed],
    ["Waiting", waiting],
    ["Running", running],
    ["Finished", finished],
  ];
  return (
    <PageFrame
      title="Home"
      followsLive
      actions={
        <LinkButton to={`/o/${org}/submit`} icon="plus" hint="N" look="primary">
          Submit
        </LinkButton>
      }
    >
      <div className="page-body">
        {runs.isPending && <Skeleton />}
        {runs.isError && <ErrorNote error={runs.error} retry={() => void runs.refetch()} />}
        {runs.isSuccess && items.length === 0 && <Onboarding org={org} />}
        {runs.isSuccess && items.length > 0 && sections.every(([, list]) => list.length === 0) && (
          <EmptyState>Nothing failed, waits or runs. Finished runs are in their projects.</EmptyState>
        )}
        {sections.map(
          ([title, list]) =>
            list.length > 0 && (
              <section key={title} className="home-section">
                <h2>{title}</h2>
                <RunList org={org} runs={list} label={title} />
              </section>
            ),
        )}
      </div>
    </PageFrame>
  );
}

/** The cheapest example of each recipe, cheapest first: each runs in about a minute or less on a CPU. */
function cheapest(
  recipes: readonly Recipe[],
): { recipe: Recipe; title: string; cost: number; index: number }[] {
  return recipes
    .flatMap((recipe) => {
      const [first] = recipe.examples
        .map((example, index) => ({ recipe, title: example.title, cost: example.cost_s, index }))
        .sort((a, b) => a.cost - b.cost);
      return first === undefined ? [] : [first];
    })
    .sort((a, b) => a.cost - b.cost)
    .slice(0, 4);
}

function Onboarding({ org }: { org: string }) {
  const recipes = useQuery(recipesQuery);
  return (
    <section className="home-section onboarding">
      <h2>Launch a first run</h2>
      <p className="second">
        Choose an example, launch it as it is, and watch its curves arrive. These are small enough for a CPU.
      </p>
      {recipes.isPending && <Skeleton lines={4} />}
      {recipes.isError && <ErrorNote error={recipes.error} retry={() => void recipes.refetch()} />}
      <ul className="card onboarding-list">
        {cheapest(recipes.data?.items ?? []).map(({ recipe, title, cost, index }) => (
          <li key={`${recipe.name}:${title}`}>
            <div>
              <b>{recipe.title}</b>
              <p className="second">{title}</p>
            </div>
            <span className="quiet number">{cost > 0 && `about ${formatDuration(cost)}`}</span>
            <LinkButton to={`/o/${org}/submit/${recipe.name}?example=${index}`}>Choose</LinkButton>
          </li>
        ))}
      </ul>
      <p>
        <Link to={`/o/${org}/submit`}>All recipes</Link>
      </p>
    </section>
  );
}
