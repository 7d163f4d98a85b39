import { useQuery } from "@tanstack/react-query";
import { quotasQuery } from "@/api/orgs";
import type { RecipeDetail } from "@/api/types";
import { inputId } from "@/forms/SpecForm";
import { parseNumber, parseSeeds } from "@/forms/validate";
import { formatConfigNumber, plural } from "@/lib/numbers";
import { changes, sameJson, type JsonObject } from "@/lib/paths";
import { formatDuration } from "@/lib/times";
import { Icon } from "@/ui/Icon";
import { QuotaBar } from "@/ui/Progress";
import type { Draft } from "./draft";
import { runCount } from "./launch";

/** What will happen: the runs by seed, the time it may take, the quota it meets, and what is still wrong. */
export function LaunchPanel({
  org,
  recipe,
  draft,
  parent,
  errors,
}: {
  org: string;
  recipe: RecipeDetail;
  draft: Draft;
  parent: JsonObject | null;
  errors: ReadonlyMap<string, string>;
}) {
  const seeds = parseSeeds(draft.seeds) ?? [];
  const devices = parseNumber(draft.devices) ?? 1;
  const runs = runCount(draft);
  const changed = parent === null ? [] : changes(parent, draft.spec);
  return (
    <aside className="launch" aria-label="What will be launched">
      <section>
        <h2>{runs > 1 ? `Study, ${plural(runs, "run")}` : "One run"}</h2>
        <div className="launch-seeds">
          {seeds.slice(0, 40).map((seed) => (
            <span key={seed}>{seed}</span>
          ))}
          {seeds.length > 40 && <span>and {seeds.length - 40} more</span>}
        </div>
        <p className="second">
          {draft.arms.length > 0
            ? `${plural(draft.arms.length, "arm")} under ${plural(seeds.length, "seed")}. Arms share their seeds, so differences are paired.`
            : seeds.length > 1
              ? "Runs that differ by seed alone; tables and charts show their mean with its interval."
              : "Several seeds make a study, whose results carry an interval."}
        </p>
      </section>
      {parent !== null && (
        <section>
          <h2>Changed from the parent</h2>
          {changed.length === 0 ? (
            <p className="second">Nothing yet: same spec.</p>
          ) : (
            <dl className="launch-changes">
              {changed.slice(0, 12).map((change) => (
                <div key={change.path}>
                  <dt>{change.path}</dt>
                  <dd>
                    <del>{brief(change.before)}</del> {brief(change.after)}
                  </dd>
                </div>
              ))}
            </dl>
          )}
        </section>
      )}
      <Estimate recipe={recipe} draft={draft} runs={runs} />
      <QuotaNow org={org} kind={draft.kind} wanted={devices} runs={runs} />
      {errors.size > 0 && <ToFix errors={errors} />}
    </aside>
  );
}

function brief(value: unknown): string {
  if (value === undefined) return "–";
  return typeof value === "number"
    ? formatConfigNumber(value)
    : typeof value === "string"
      ? value
      : JSON.stringify(value);
}

/** Only what was measured: an example's own time, on the device it was measured on. */
function Estimate({ recipe, draft, runs }: { recipe: RecipeDetail; draft: Draft; runs: number }) {
  const template = recipe.templates.find((one) => one.name === draft.template);
  if (template !== undefined && template.cost_s > 0 && sameJson(template.spec, draft.spec)) {
    return (
      <section>
        <h2>Expected time</h2>
        <p>
          About <b>{formatDuration(template.cost_s)}</b> of device time on two CPU cores, as the template
          stands.
        </p>
      </section>
    );
  }
  const measured = recipe.examples.filter((example) => example.cost_s > 0);
  const same = measured.find((example) => sameJson(example.spec, draft.spec));
  const near =
    same ??
    [...measured].sort((a, b) => changes(a.spec, draft.spec).length - changes(b.spec, draft.spec).length)[0];
  if (near === undefined) return null;
  return (
    <section>
      <h2>Expected time</h2>
      {same !== undefined ? (
        <p>
          About <b>{formatDuration(same.cost_s)}</b> a run on two CPU cores
          {runs > 1 && `, ${formatDuration(same.cost_s * runs)} of device time in all`}.
        </p>
      ) : (
        <p className="second">
          The nearest example, “{near.title}”, takes about {formatDuration(near.cost_s)} on two CPU cores;{" "}
          {plural(changes(near.spec, draft.spec).length, "value differs", "values differ")} here.
        </p>
      )}
    </section>
  );
}

function QuotaNow({ org, kind, wanted, runs }: { org: string; kind: string; wanted: number; runs: number }) {
  const quotas = useQuery(quotasQuery(org));
  const quota = quotas.data?.items.find((one) => one.kind === kind);
  if (quota === undefined) return null;
  const limit = Math.min(quota.max_devices ?? quota.capacity, quota.capacity);
  const now = Math.min(runs, Math.floor(Math.max(0, limit - quota.in_use) / wanted));
  return (
    <section>
      <h2>Quota, {kind}</h2>
      <QuotaBar
        inUse={quota.in_use}
        guaranteed={limit}
        max={limit}
        label={`${quota.in_use} of ${limit} in use`}
      />
      <p className="second">
        {quota.in_use} of {limit} in use, {quota.waiting} waiting.{" "}
        {quota.capacity === 0
          ? `No attached node has ${kind}; the run waits until one does.`
          : wanted > limit
            ? `A run that asks for ${wanted} cannot fit.`
            : now === runs
              ? "All of it fits now."
              : `${now} of ${plural(runs, "run")} fit now, the rest waits.`}
      </p>
    </section>
  );
}

function ToFix({ errors }: { errors: ReadonlyMap<string, string> }) {
  return (
    <section className="launch-errors" role="alert">
      <h2>
        <Icon name="bad" size={14} /> {plural(errors.size, "value")} to fix before launch
      </h2>
      <ul>
        {[...errors].slice(0, 6).map(([path, text]) => (
          <li key={path}>
            <button type="button" onClick={() => focusField(path)}>
              {path}
            </button>{" "}
            {text}
          </li>
        ))}
      </ul>
    </section>
  );
}

export function focusField(path: string): void {
  const field = document.getElementById(inputId(path));
  if (field === null) return;
  field.scrollIntoView({ block: "center" });
  const target = field.matches("input, select, textarea")
    ? field
    : field.querySelector<HTMLElement>("[tabindex='0']");
  (target ?? field).focus();
}
