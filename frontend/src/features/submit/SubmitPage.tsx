import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { ApiError } from "@/api/http";
import { projectsQuery } from "@/api/orgs";
import { recipeQuery } from "@/api/recipes";
import { runQuery } from "@/api/runs";
import { useOrg } from "@/api/session";
import type { RecipeDetail, Run } from "@/api/types";
import { initialObject, sectionsOf } from "@/forms/model";
import { SectionForm, sectionId, type FormContext } from "@/forms/SpecForm";
import { useShortcuts } from "@/lib/keys";
import { plural } from "@/lib/numbers";
import { changes, isObject, sameJson, setAt } from "@/lib/paths";
import { randomKey } from "@/lib/randomKey";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { say } from "@/ui/toasts";
import { ArmFields } from "./ArmFields";
import { draftKey, dropDraft, freshDraft, readDraft, templateDraft, writeDraft, type Draft } from "./draft";
import { draftErrors, launch, NEW_PROJECT, runCount, serverErrors } from "./launch";
import { LaunchFields } from "./LaunchFields";
import { focusField, LaunchPanel } from "./LaunchPanel";
import "./submit.css";

export function SubmitPage() {
  const { org = "", recipe: name = "" } = useParams();
  const [params] = useSearchParams();
  const from = params.get("from") ?? "";
  const recipe = useQuery(recipeQuery(name));
  const parent = useQuery({ ...runQuery(from), enabled: from !== "" });
  const projects = useQuery(projectsQuery(org));
  const error = recipe.error ?? parent.error;
  if (error !== null) {
    return (
      <PageFrame title={name} crumbs={[{ text: "Submit", to: `/o/${org}/submit` }]}>
        <div className="page-body">
          <ErrorNote error={error} />
        </div>
      </PageFrame>
    );
  }
  if (
    recipe.data === undefined ||
    projects.data === undefined ||
    (from !== "" && parent.data === undefined)
  ) {
    return (
      <PageFrame title={name} crumbs={[{ text: "Submit", to: `/o/${org}/submit` }]}>
        <Skeleton lines={10} />
      </PageFrame>
    );
  }
  const wanted = params.get("project");
  const first = projects.data.items.find((project) => project.slug === wanted) ?? projects.data.items[0];
  const example = params.get("example") ?? "";
  const template = params.get("template") ?? "";
  return (
    <SubmitForm
      key={`${name}:${from}:${example}:${template}`}
      org={org}
      recipe={recipe.data}
      parent={parent.data ?? null}
      project={first?.slug ?? `${NEW_PROJECT}first`}
      example={example}
      template={template}
    />
  );
}

function SubmitForm({
  org,
  recipe,
  parent,
  project,
  example,
  template,
}: {
  org: string;
  recipe: RecipeDetail;
  parent: Run | null;
  project: string;
  example: string;
  template: string;
}) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const may = useOrg(org)?.can ?? [];
  const sections = useMemo(() => sectionsOf(recipe.schema), [recipe.schema]);
  const storeKey = draftKey(org, recipe.name, parent?.id ?? "", example === "" ? template : example);
  const start = (): Draft => {
    const chosen = recipe.examples[Number(example)] ?? recipe.examples[0];
    const spec = chosen?.spec ?? initialObject(sections.flatMap((section) => section.fields));
    const draft = freshDraft(spec, parent, project);
    const study = recipe.templates.find((one) => one.name === template);
    return study === undefined ? draft : { ...draft, ...templateDraft(study) };
  };
  const [draft, setDraft] = useState(() => readDraft(storeKey) ?? start());
  const [touched, touch] = useState<ReadonlySet<string>>(new Set());
  const [tried, setTried] = useState(false);
  const [refused, setRefused] = useState<ReadonlyMap<string, string>>(new Map());
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const sent = useRef({ body: "", key: "" });

  useEffect(() => writeDraft(storeKey, draft), [storeKey, draft]);

  const wrong = useMemo(() => draftErrors(draft, sections), [draft, sections]);
  const shown = new Map([...refused, ...[...wrong].filter(([path]) => tried || touched.has(path))]);
  const forget = (path: string): void => {
    setFailure(null);
    if ([...refused.keys()].some((one) => one === path || one.startsWith(`${path}.`))) {
      setRefused(new Map([...refused].filter(([one]) => one !== path && !one.startsWith(`${path}.`))));
    }
  };
  const update = (change: Partial<Draft>): void => {
    Object.keys(change).forEach(forget);
    setDraft((before) => ({ ...before, ...change }));
  };
  const form: FormContext = {
    spec: draft.spec,
    texts: draft.texts,
    parent: parent?.spec ?? null,
    errors: shown,
    onChange: (path, value) => {
      forget(path);
      setDraft((before) => {
        const spec = setAt(before.spec, path, value);
        return isObject(spec) ? { ...before, spec } : before;
      });
    },
    onText: (path, text) =>
      setDraft((before) => {
        const others = Object.entries(before.texts).filter(([one]) => one !== path);
        return { ...before, texts: Object.fromEntries(text === null ? others : [...others, [path, text]]) };
      }),
    onBlur: (path) => touch(new Set([...touched, path])),
  };

  const go = (): void => {
    setTried(true);
    const [first] = [...wrong.keys()];
    if (first !== undefined) {
      requestAnimationFrame(() => focusField(first));
      return;
    }
    if (busy) return;
    const body = JSON.stringify([draft, recipe.version]);
    if (sent.current.body !== body) sent.current = { body, key: randomKey() };
    setBusy(true);
    setFailure(null);
    launch(org, recipe, draft, parent?.id ?? null, sent.current.key)
      .then((path) => {
        dropDraft(storeKey);
        say(count > 1 ? `Launched ${plural(count, "run")}.` : "Launched.");
        void client.invalidateQueries({ queryKey: ["runs", org] });
        void client.invalidateQueries({ queryKey: ["projects", org] });
        return navigate(path);
      })
      .catch((error: unknown) => {
        setFailure(error);
        if (error instanceof ApiError) {
          const found = serverErrors(error.fields);
          setRefused(found);
          const [path] = [...found.keys()];
          if (path !== undefined) requestAnimationFrame(() => focusField(path));
        }
      })
      .finally(() => setBusy(false));
  };
  useShortcuts([{ key: "Mod+Enter", does: "Launch", run: go }]);

  const count = runCount(draft);
  const changed = parent === null ? 0 : changes(parent.spec, draft.spec).length;
  const errorsIn = (paths: readonly string[]): number =>
    [...shown.keys()].filter((path) => paths.some((one) => path === one || path.startsWith(`${one}.`)))
      .length;
  const discard = (): void => {
    dropDraft(storeKey);
    setDraft(start());
    setTried(false);
    touch(new Set());
    setRefused(new Map());
    setFailure(null);
  };

  return (
    <PageFrame
      headed
      title={recipe.title}
      crumbs={[{ text: "Submit", to: `/o/${org}/submit` }]}
      actions={
        <>
          <Button look="quiet" onClick={discard}>
            Discard
          </Button>
          <Button look="primary" hint="⌘↵" onClick={go} aria-busy={busy}>
            {busy ? "Launching" : count > 1 ? `Launch ${plural(count, "run")}` : "Launch"}
          </Button>
        </>
      }
    >
      <header className="submit-head">
        <div className="row">
          <h1>{recipe.title}</h1>
          <code>
            {recipe.name} {recipe.version}
          </code>
        </div>
        <p className="second">
          {parent === null ? (
            recipe.description.split("\n\n")[0]?.replaceAll("`", "")
          ) : (
            <>
              Cloned from <Link to={`/o/${org}/runs/${parent.id}`}>{parent.name}</Link>,{" "}
              {plural(changed, "value")} changed.
            </>
          )}
        </p>
        <Presets recipe={recipe} draft={draft} onPick={update} />
      </header>
      <div className="submit-body">
        <nav className="submit-sections" aria-label="Sections">
          {sections.map((section) => (
            <SectionLink
              key={section.name}
              name={section.name}
              errors={errorsIn(section.fields.map((field) => field.path))}
            />
          ))}
          <SectionLink name="Arms" errors={errorsIn(["arms"])} />
          <SectionLink name="Launch" errors={errorsIn(["name", "project", "seeds", "resources"])} />
        </nav>
        <form
          className="submit-form"
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            go();
          }}
        >
          {failure !== null && <ErrorNote error={failure} />}
          {sections.map((section) => (
            <SectionForm key={section.name} section={section} form={form} />
          ))}
          <ArmFields draft={draft} errors={shown} onChange={update} />
          <LaunchFields
            org={org}
            draft={draft}
            errors={shown}
            mayMakeProject={may.includes("project.manage")}
            onChange={update}
            onBlur={form.onBlur}
          />
          <button type="submit" className="visually-hidden" tabIndex={-1}>
            Launch
          </button>
        </form>
        <LaunchPanel org={org} recipe={recipe} draft={draft} parent={parent?.spec ?? null} errors={shown} />
      </div>
    </PageFrame>
  );
}

function SectionLink({ name, errors }: { name: string; errors: number }) {
  return (
    <button
      type="button"
      onClick={() => document.getElementById(sectionId(name))?.scrollIntoView({ block: "start" })}
    >
      {name}
      {errors > 0 && (
        <span className="bad-text">
          <Icon name="bad" size={12} /> {errors}
        </span>
      )}
    </button>
  );
}

function Presets({
  recipe,
  draft,
  onPick,
}: {
  recipe: RecipeDetail;
  draft: Draft;
  onPick: (change: Partial<Draft>) => void;
}) {
  return (
    <>
      <div className="row presets">
        <span className="quiet">Start from</span>
        {recipe.examples.map((example) => (
          <button
            key={example.title}
            type="button"
            className="filter"
            aria-pressed={draft.arms.length === 0 && sameJson(example.spec, draft.spec)}
            onClick={() => onPick({ spec: example.spec, texts: {}, arms: [], template: "" })}
          >
            {example.title}
          </button>
        ))}
      </div>
      {recipe.templates.length > 0 && (
        <div className="row presets">
          <span className="quiet">Or a study</span>
          {recipe.templates.map((template) => (
            <button
              key={template.name}
              type="button"
              className="filter"
              title={template.help}
              aria-pressed={draft.template === template.name}
              onClick={() => onPick(templateDraft(template))}
            >
              {template.title}
            </button>
          ))}
        </div>
      )}
    </>
  );
}
