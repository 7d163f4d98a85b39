import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { projectsQuery } from "@/api/orgs";
import { studiesQuery } from "@/api/runs";
import { ProjectTabs } from "@/features/runs/ProjectTabs";
import { plural } from "@/lib/numbers";
import { statesSentence } from "@/lib/runStates";
import { formatTime } from "@/lib/times";
import { LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { StateBars } from "@/ui/StateChip";

export function StudiesPage() {
  const { org = "", project = "" } = useParams();
  const studies = useQuery({ ...studiesQuery(org, project), refetchInterval: 10_000 });
  const projects = useQuery(projectsQuery(org));
  const here = projects.data?.items.find((one) => one.slug === project);
  return (
    <PageFrame title={here?.name ?? project} crumbs={[{ text: "Projects", to: `/o/${org}/projects` }]}>
      <ProjectTabs org={org} project={project} runs={here?.runs} />
      <div className="page-body">
        {studies.isPending && <Skeleton />}
        {studies.isError && <ErrorNote error={studies.error} retry={() => void studies.refetch()} />}
        {studies.data?.items.length === 0 && (
          <EmptyState
            action={<LinkButton to={`/o/${org}/submit?project=${project}`}>Choose a recipe</LinkButton>}
          >
            No studies. Submitting with several seeds makes one.
          </EmptyState>
        )}
        {studies.data !== undefined && studies.data.items.length > 0 && (
          <div className="card table-scroll">
            <table className="table" aria-label="Studies">
              <thead>
                <tr>
                  <th scope="col">Study</th>
                  <th scope="col">Recipe</th>
                  <th scope="col">Runs</th>
                  <th scope="col">State</th>
                  <th scope="col">Made</th>
                </tr>
              </thead>
              <tbody>
                {studies.data.items.map((study) => (
                  <tr key={study.id}>
                    <td>
                      <Link to={`/o/${org}/studies/${study.id}`}>
                        <b>{study.name}</b>
                      </Link>
                    </td>
                    <td className="mono">{study.recipe}</td>
                    <td className="second">
                      {plural(study.arms.length, "arm")} × {plural(study.seeds.length, "seed")}
                    </td>
                    <td>
                      <StateBars states={study.states} label={statesSentence(study.states)} />{" "}
                      <span className="second">{statesSentence(study.states)}</span>
                    </td>
                    <td className="second">{formatTime(study.created_at)}</td>
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
