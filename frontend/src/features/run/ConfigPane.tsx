import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { runQuery } from "@/api/runs";
import type { Run } from "@/api/types";
import { formatConfigNumber, formatInteger, plural } from "@/lib/numbers";
import { changes, leaves, type Json } from "@/lib/paths";
import { formatDuration, formatTime } from "@/lib/times";
import { CopyButton, ErrorNote } from "@/ui/Notes";
import { Segmented } from "@/ui/Segmented";

type Scope = "changed" | "all";

export function configText(value: Json | undefined): string {
  if (value === undefined) return "–";
  if (typeof value === "number") return formatConfigNumber(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function ConfigPane({ org, run }: { org: string; run: Run }) {
  const [scope, setScope] = useState<Scope>(run.parent === null ? "all" : "changed");
  const parent = useQuery({ ...runQuery(run.parent ?? ""), enabled: run.parent !== null });
  const all = Object.keys(run.spec).length === 0 ? [] : leaves(run.spec);
  const changed = parent.data === undefined ? [] : changes(parent.data.spec, run.spec);
  const sections = new Map<string, [string, Json][]>();
  for (const [path, value] of all) {
    const section = path.includes(".") ? (path.split(".")[0] ?? "") : "general";
    sections.set(section, [...(sections.get(section) ?? []), [path, value]]);
  }
  return (
    <section className="config" aria-label="Config">
      <header className="config-head">
        <h3>Config</h3>
        <span className="quiet">{plural(all.length, "value")}</span>
        <span className="spacer" />
        {run.parent !== null && (
          <Segmented
            label="Values shown"
            value={scope}
            options={[
              ["changed", "Changed"],
              ["all", "All"],
            ]}
            onChange={setScope}
          />
        )}
        <CopyButton text={JSON.stringify(run.spec, null, 2)} label="Copy the spec as JSON" />
      </header>
      {run.parent !== null && (
        <p className="config-parent">
          Against parent{" "}
          <Link className="mono" to={`/o/${org}/runs/${run.parent}`}>
            {run.parent}
          </Link>
          {parent.data !== undefined &&
            (changed.length === 0
              ? `, same spec${parent.data.seed === run.seed ? " and seed" : `, seed ${parent.data.seed} there`}`
              : `, ${formatInteger(changed.length)} ${changed.length === 1 ? "differs" : "differ"}`)}
        </p>
      )}
      {parent.isError && <ErrorNote error={parent.error} />}
      {scope === "changed" && changed.length > 0 && (
        <dl className="config-list config-changed">
          {changed.map((change) => (
            <div key={change.path}>
              <dt>{change.path}</dt>
              <dd>
                {change.before !== undefined && <del>{configText(change.before)}</del>}{" "}
                {change.after === undefined ? <span className="quiet">gone</span> : configText(change.after)}
              </dd>
            </div>
          ))}
        </dl>
      )}
      {all.length === 0 && (
        <p className="config-parent">
          {run.external ? "The script gave no configuration." : "The spec is empty."}
        </p>
      )}
      {scope === "all" &&
        [...sections].map(([section, list]) => (
          <div key={section}>
            <h4>{section}</h4>
            <dl className="config-list">
              {list.map(([path, value]) => (
                <div key={path}>
                  <dt>{section !== "general" ? path.slice(section.length + 1) : path}</dt>
                  <dd>{configText(value)}</dd>
                </div>
              ))}
            </dl>
          </div>
        ))}
      <h4>{run.external ? "Origin" : "Reproduce"}</h4>
      <dl className="config-list">
        {run.external ? (
          <Fact name="logged by" value="a script or an import" />
        ) : (
          <>
            <Fact name="recipe" value={`${run.recipe} ${run.recipe_version}`} />
            <Fact name="spec hash" value={run.spec_hash.slice(0, 12)} copy={run.spec_hash} />
            <Fact name="seed" value={String(run.seed)} />
            <Fact name="resources" value={`${run.resources.devices} ${run.resources.kind}`} />
            <Fact name="time limit" value={formatDuration(run.resources.time_limit_s)} />
          </>
        )}
        <Fact name="by" value={`${run.created_by ?? "unknown"}, ${formatTime(run.created_at)}`} />
      </dl>
    </section>
  );
}

function Fact({ name, value, copy }: { name: string; value: string; copy?: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {value}
        {copy !== undefined && <CopyButton text={copy} label={`Copy the ${name}`} />}
      </dd>
    </div>
  );
}
