import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type DragEvent } from "react";
import { Link, useParams } from "react-router";
import { importArchive } from "@/api/archives";
import { projectsQuery } from "@/api/orgs";
import { formatInteger, plural } from "@/lib/numbers";
import { Button, LinkButton } from "@/ui/Button";
import { PageFrame } from "@/ui/PageFrame";
import { Progress } from "@/ui/Progress";
import { push } from "./push";
import { pathOf, readFile, type ReadFile } from "./readFile";
import { pointsOf } from "./source";
import "./imports.css";

interface Entry {
  readonly file: File;
  readonly path: string;
  readonly read: ReadFile | null;
  readonly phase: "reading" | "ready" | "importing" | "done" | "failed";
  readonly done: number;
  readonly newPoints: number;
  /** Ids of the runs that came of it. */
  readonly runs: readonly string[];
  readonly error: string;
}

const MOST_LINKS = 5;
const kinds = { table: "table", tensorboard: "TensorBoard", archive: "archive of a project" } as const;

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "The file could not be read.";
}

/** Runs of other trackers from files: read here, shown before anything is sent, sent run by run. */
export function ImportPage() {
  const { org = "", project = "" } = useParams();
  const client = useQueryClient();
  const projects = useQuery(projectsQuery(org));
  const here = projects.data?.items.find((one) => one.slug === project);
  const [entries, setEntries] = useState<readonly Entry[]>([]);
  const [over, setOver] = useState(false);
  const base = `/o/${org}/p/${project}/runs`;

  const change = (file: File, next: Partial<Entry>): void =>
    setEntries((before) => before.map((one) => (one.file === file ? { ...one, ...next } : one)));
  const take = (files: FileList | null): void => {
    const added = [...(files ?? [])].filter((file) => !file.name.startsWith("."));
    setEntries((before) => [
      ...before.filter((one) => !added.some((file) => pathOf(file) === one.path && one.phase !== "done")),
      ...added.map((file) => ({
        file,
        path: pathOf(file),
        read: null,
        phase: "reading" as const,
        done: 0,
        newPoints: 0,
        runs: [],
        error: "",
      })),
    ]);
    for (const file of added) {
      readFile(file)
        .then((read) => change(file, { read, phase: "ready" }))
        .catch((error: unknown) => change(file, { phase: "failed", error: messageOf(error) }));
    }
  };
  const ready = entries.filter((one) => one.phase === "ready");
  const busy = entries.some((one) => one.phase === "importing");

  const importOne = async ({ file, read }: Entry): Promise<void> => {
    change(file, { phase: "importing", done: 0, error: "" });
    const runs: string[] = [];
    let newPoints = 0;
    try {
      if (read?.kind === "archive") {
        const got = await importArchive(org, project, file);
        runs.push(...Object.values(got.runs));
        newPoints = got.points;
      }
      for (const source of read?.runs ?? []) {
        const pushed = await push(org, project, read?.kind ?? "table", source);
        runs.push(pushed.run);
        newPoints += pushed.newPoints;
        change(file, { done: runs.length });
      }
      change(file, { phase: "done", runs, newPoints });
    } catch (error) {
      const at = read?.runs[runs.length];
      const which = at !== undefined && (read?.runs.length ?? 0) > 1 ? `Run ${at.name}: ` : "";
      change(file, { phase: "failed", runs, newPoints, error: `${which}${messageOf(error)}` });
    }
  };
  const importAll = async (): Promise<void> => {
    for (const entry of ready) await importOne(entry);
    for (const key of ["runs", "projects", "studies", "metric-keys"])
      void client.invalidateQueries({ queryKey: [key] });
  };
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files);
  };
  const count = ready.reduce((sum, one) => sum + (one.read?.runs.length ?? 0), 0);

  return (
    <PageFrame
      title="Import runs"
      crumbs={[{ text: here?.name ?? project, to: base }]}
      actions={
        <Button look="primary" disabled={busy || ready.length === 0} onClick={() => void importAll()}>
          {busy
            ? "Importing"
            : count > 0
              ? `Import ${plural(count, "run")}`
              : ready.length > 0
                ? `Import ${plural(ready.length, "file")}`
                : "Import"}
        </Button>
      }
    >
      <div className="page-body import-page">
        <div
          className={over ? "import-drop import-over" : "import-drop"}
          onDragOver={(event) => {
            event.preventDefault();
            setOver(true);
          }}
          onDragLeave={() => setOver(false)}
          onDrop={drop}
        >
          <p>
            Drop files here: <b>.csv</b>, <b>.tsv</b> or <b>.jsonl</b> with a row a step and a column a
            metric, TensorBoard event files, or an archive that a project was exported to.
          </p>
          <div className="row">
            <label className="button button-plain">
              Choose files
              <input
                type="file"
                multiple
                className="visually-hidden"
                aria-label="Files to import"
                onChange={(event) => {
                  take(event.target.files);
                  // The same file can be chosen again after an error.
                  event.target.value = "";
                }}
              />
            </label>
            <label className="button button-quiet">
              Choose a folder
              <input
                type="file"
                className="visually-hidden"
                aria-label="Folder to import"
                ref={(input) => input?.setAttribute("webkitdirectory", "")}
                onChange={(event) => {
                  take(event.target.files);
                  event.target.value = "";
                }}
              />
            </label>
          </div>
          <p className="quiet">
            A column run, run_id or run_name tells runs apart. Importing a file again adds only what is new.
            MLflow, W&amp;B and Neptune: <code>stillroom import --help</code>
          </p>
        </div>
        {entries.length > 0 && (
          <div className="card table-scroll">
            <table className="table" aria-label="Files">
              <thead>
                <tr>
                  <th scope="col">File</th>
                  <th scope="col">What it is</th>
                  <th scope="col" className="number">
                    Runs
                  </th>
                  <th scope="col" className="number">
                    Points
                  </th>
                  <th scope="col">Result</th>
                </tr>
              </thead>
              <tbody>
                {entries.map((entry) => (
                  <tr key={entry.path}>
                    <td className="mono">{entry.path}</td>
                    <td className="second">{entry.read === null ? "" : kinds[entry.read.kind]}</td>
                    <td className="number">{known(entry, (read) => read.runs.length)}</td>
                    <td className="number">
                      {known(entry, (read) => read.runs.reduce((sum, run) => sum + pointsOf(run), 0))}
                    </td>
                    <td aria-live="polite">
                      <Result org={org} entry={entry} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {entries.some((one) => one.phase === "done") && (
          <div className="row">
            <LinkButton to={base}>Runs of {here?.name ?? project}</LinkButton>
          </div>
        )}
      </div>
    </PageFrame>
  );
}

function known({ read }: Entry, count: (read: ReadFile) => number): string {
  return read === null || read.kind === "archive" ? "–" : formatInteger(count(read));
}

function Result({ org, entry }: { org: string; entry: Entry }) {
  const { phase, read, runs } = entry;
  const all = read?.runs.length ?? 0;
  if (phase === "reading") return <span className="second">Reading</span>;
  if (phase === "ready") return <span className="second">Ready</span>;
  if (phase === "importing")
    return (
      <span className="row">
        <Progress share={all === 0 ? 0.5 : entry.done / all} label={`Import of ${entry.path}`} />
        <span className="second">{all > 0 && `${formatInteger(entry.done)} of ${plural(all, "run")}`}</span>
      </span>
    );
  return (
    <span className="import-result">
      {phase === "failed" && <span className="bad-text">{entry.error}</span>}
      {phase === "done" && (
        <span>
          {entry.newPoints === 0 ? "Nothing new." : `${formatInteger(entry.newPoints)} points are new.`}
        </span>
      )}
      {runs.slice(0, MOST_LINKS).map((run) => (
        <Link key={run} className="mono" to={`/o/${org}/runs/${run}`}>
          {run}
        </Link>
      ))}
      {runs.length > MOST_LINKS && <span className="quiet">and {runs.length - MOST_LINKS} more</span>}
    </span>
  );
}
