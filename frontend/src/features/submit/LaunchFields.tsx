import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { nodesQuery, projectsQuery, quotasQuery } from "@/api/orgs";
import { inputId } from "@/forms/SpecForm";
import { parseSeeds } from "@/forms/validate";
import { plural } from "@/lib/numbers";
import { Icon } from "@/ui/Icon";
import type { Draft } from "./draft";
import { NEW_PROJECT } from "./launch";

interface FieldsProps {
  readonly org: string;
  readonly draft: Draft;
  readonly errors: ReadonlyMap<string, string>;
  readonly mayMakeProject: boolean;
  readonly onChange: (change: Partial<Draft>) => void;
  readonly onBlur: (path: string) => void;
}

/** Name, project, seeds and resources: what is not part of the spec. */
export function LaunchFields({ org, draft, errors, mayMakeProject, onChange, onBlur }: FieldsProps) {
  const projects = useQuery(projectsQuery(org));
  const quotas = useQuery(quotasQuery(org));
  const nodes = useQuery(nodesQuery(org));
  const kinds = new Set(["cpu", draft.kind]);
  quotas.data?.items.forEach((quota) => kinds.add(quota.kind));
  nodes.data?.items.forEach((node) => node.devices.forEach((device) => kinds.add(device.kind)));
  const seeds = parseSeeds(draft.seeds);
  const isNew = draft.project.startsWith(NEW_PROJECT);
  const input = (
    path: string,
    value: string,
    set: (text: string) => void,
    unit = "",
    label?: string,
  ): ReactNode => (
    <span className="input-frame">
      <input
        id={inputId(path)}
        className="input"
        value={value}
        autoComplete="off"
        aria-label={label}
        aria-invalid={errors.has(path)}
        aria-describedby={`${inputId(path)}-help`}
        onChange={(event) => set(event.target.value)}
        onBlur={() => onBlur(path)}
      />
      {unit !== "" && <span className="input-unit">{unit}</span>}
    </span>
  );
  return (
    <section className="form-section" id="section-launch" aria-label="Launch">
      <h2>Launch</h2>
      <Row path="name" title="Name" help="Empty: made from the recipe and the seed." errors={errors}>
        {input("name", draft.name, (name) => onChange({ name }))}
      </Row>
      <Row
        path="project"
        title="Project"
        help="Where runs, studies and charts are kept together."
        errors={errors}
      >
        <div className="launch-pair">
          <span className="select-frame">
            <select
              className="select"
              id={isNew ? undefined : inputId("project")}
              aria-label="Project"
              value={isNew ? NEW_PROJECT : draft.project}
              onChange={(event) => onChange({ project: event.target.value })}
            >
              {projects.data?.items.map((project) => (
                <option key={project.slug} value={project.slug}>
                  {project.name === "" ? project.slug : project.name}
                </option>
              ))}
              {mayMakeProject && <option value={NEW_PROJECT}>A new project</option>}
            </select>
            <Icon name="chevronDown" size={14} />
          </span>
          {isNew &&
            input("project", draft.project.slice(1), (text) => onChange({ project: NEW_PROJECT + text }))}
        </div>
      </Row>
      <Row
        path="seeds"
        title="Seeds"
        help="One seed is a run, several are a study: 0, or 0 to 4, or 0, 3, 7."
        errors={errors}
      >
        {input(
          "seeds",
          draft.seeds,
          (text) => onChange({ seeds: text }),
          seeds === null ? "" : plural(seeds.length, "seed"),
        )}
      </Row>
      <Row
        path="resources.kind"
        title="Resources"
        help="Devices of one kind on one node, for each run."
        errors={errors}
      >
        <div className="launch-pair">
          <span className="select-frame">
            <select
              className="select"
              id={inputId("resources.kind")}
              value={draft.kind}
              onChange={(event) => onChange({ kind: event.target.value })}
            >
              {[...kinds].map((kind) => (
                <option key={kind}>{kind}</option>
              ))}
            </select>
            <Icon name="chevronDown" size={14} />
          </span>
          {input(
            "resources.devices",
            draft.devices,
            (devices) => onChange({ devices }),
            "devices",
            "Devices",
          )}
        </div>
        {errors.has("resources.devices") && (
          <p className="form-help form-error">{errors.get("resources.devices")}</p>
        )}
      </Row>
      <Row
        path="resources.time_limit_s"
        title="Time limit"
        help="A run past it is stopped, with a checkpoint."
        errors={errors}
      >
        {input(
          "resources.time_limit_s",
          draft.timeLimitMin,
          (text) => onChange({ timeLimitMin: text }),
          "min",
        )}
      </Row>
    </section>
  );
}

function Row({
  path,
  title,
  help,
  errors,
  children,
}: {
  path: string;
  title: string;
  help: string;
  errors: ReadonlyMap<string, string>;
  children: ReactNode;
}) {
  const error = errors.get(path);
  return (
    <div className={error === undefined ? "form-row" : "form-row form-row-bad"}>
      <label htmlFor={inputId(path)}>{title}</label>
      <div className="form-value">
        {children}
        <p
          id={`${inputId(path)}-help`}
          className={error === undefined ? "form-help" : "form-help form-error"}
        >
          {error ?? help}
        </p>
      </div>
    </div>
  );
}
