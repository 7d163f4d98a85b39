import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { ApiError } from "@/api/http";
import { createProject, projectsQuery } from "@/api/orgs";
import { useMe } from "@/api/session";
import { formatInteger } from "@/lib/numbers";
import { slugOf } from "@/lib/slug";
import { Button, LinkButton } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import "./org.css";

/** Where runs lie: the projects of an organisation, and a new one. */
export function ProjectsPage() {
  const { org = "" } = useParams();
  const me = useMe();
  const projects = useQuery(projectsQuery(org));
  const role = me?.orgs.find((one) => one.slug === org)?.role;
  const items = projects.data?.items ?? [];
  return (
    <PageFrame title="Projects">
      <div className="page-body">
        {role !== "viewer" && <MakeProject org={org} />}
        {projects.isPending && <Skeleton />}
        {projects.isError && <ErrorNote error={projects.error} retry={() => void projects.refetch()} />}
        {projects.isSuccess && items.length === 0 && (
          <EmptyState action={<LinkButton to={`/o/${org}/submit`}>Choose a recipe</LinkButton>}>
            No projects. A project keeps runs that belong together; the first launch makes one too.
          </EmptyState>
        )}
        {items.length > 0 && (
          <div className="card table-scroll">
            <table className="table" aria-label="Projects">
              <thead>
                <tr>
                  <th scope="col">Project</th>
                  <th scope="col">Address</th>
                  <th scope="col" className="number">
                    Runs
                  </th>
                  <th scope="col" className="number">
                    Active
                  </th>
                  <th scope="col">
                    <span className="visually-hidden">Also</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {items.map((project) => (
                  <tr key={project.slug}>
                    <td>
                      <Link to={`/o/${org}/p/${project.slug}/runs`}>
                        <b>{project.name === "" ? project.slug : project.name}</b>
                      </Link>{" "}
                      <span className="second">{project.description}</span>
                    </td>
                    <td className="mono second">
                      {org}/{project.slug}
                    </td>
                    <td className="number">{formatInteger(project.runs)}</td>
                    <td className="number">{formatInteger(project.active)}</td>
                    <td>
                      <span className="row">
                        <Link to={`/o/${org}/p/${project.slug}/studies`}>Studies</Link>
                        {role !== "viewer" && <Link to={`/o/${org}/p/${project.slug}/import`}>Import</Link>}
                      </span>
                    </td>
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

function MakeProject({ org }: { org: string }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [name, setName] = useState("");
  const [error, setError] = useState<unknown>(null);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    createProject(org, { slug: slugOf(name), name: name.trim(), description: "" })
      .then((project) => {
        void client.invalidateQueries({ queryKey: ["projects", org] });
        return navigate(`/o/${org}/p/${project.slug}/runs`);
      })
      .catch((failure: unknown) => setError(failure));
  };
  const said = error instanceof ApiError ? (Object.values(error.fields)[0] ?? error.message) : null;
  return (
    <form className="org-add" onSubmit={submit} noValidate>
      <label className="org-add-wide">
        <span>Name</span>
        <input
          className="input"
          value={name}
          placeholder="Loss ablation"
          aria-invalid={said !== null}
          onChange={(event) => {
            setName(event.target.value);
            setError(null);
          }}
        />
      </label>
      <Button type="submit" look="primary">
        Make project
      </Button>
      {said !== null && (
        <p className="bad-text org-add-error" role="alert">
          {said}
        </p>
      )}
    </form>
  );
}
