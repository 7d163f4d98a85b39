import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { recipeQuery } from "@/api/recipes";
import type { BenchmarkDetail, BenchmarkEntry } from "@/api/types";
import { AxisHead, IntervalDot, niceAxis, type AxisRange } from "@/charts/IntervalAxis";
import {
  formatBytes,
  formatConfigNumber,
  formatInteger,
  formatInterval,
  formatValue,
  plural,
} from "@/lib/numbers";
import { leaves } from "@/lib/paths";
import { LinkButton } from "@/ui/Button";
import { EmptyState } from "@/ui/Notes";
import { Swatch } from "@/ui/Swatch";

/** The rule in two sentences: what is measured, and what is fixed. */
function Rule({ board }: { board: BenchmarkDetail }) {
  const frozen = Object.entries(board.frozen);
  const how = { last: "the last value of", min: "the lowest value of", max: "the highest value of" }[
    board.reduce
  ];
  return (
    <div className="board-rule">
      <p>
        Ranked by {how} <b>{board.metric}</b>, {board.goal === "min" ? "lower" : "higher"} is better, mean
        over seeds
        {board.target !== null && (
          <>
            ; the target is <b>{formatValue(board.target)}</b>
          </>
        )}
        . Every entry is a run of <code>{board.recipe}</code> with{" "}
        {frozen.length === 0 ? "any spec" : `${plural(frozen.length, "value")} of the spec frozen`}, and is
        complete with {plural(board.seeds, "seed")}.
      </p>
      {frozen.length > 0 && (
        <details>
          <summary>Frozen values</summary>
          <dl className="board-frozen">
            {frozen.map(([path, value]) => (
              <div key={path}>
                <dt>{path}</dt>
                <dd>
                  {typeof value === "number"
                    ? formatConfigNumber(value)
                    : typeof value === "string"
                      ? value
                      : JSON.stringify(value)}
                </dd>
              </div>
            ))}
          </dl>
        </details>
      )}
      {board.description !== "" && <p className="second">{board.description}</p>}
    </div>
  );
}

export function Ranking({ board }: { board: BenchmarkDetail }) {
  const recipe = useQuery(recipeQuery(board.recipe));
  const unitOf = (key: string): string =>
    recipe.data?.metrics.find((metric) => metric.key === key)?.unit ?? "";
  const ends = board.entries
    .flatMap((entry) => [entry.mean, entry.lo, entry.hi, ...entry.values])
    .filter((value) => value !== null);
  const axis = niceAxis(board.target === null ? ends : [...ends, board.target]);
  const hasTarget = board.target !== null;
  return (
    <>
      <header className="board-head">
        <div className="row">
          <h1>{board.name}</h1>
          <span className="tag">version {board.version}</span>
        </div>
        <Rule board={board} />
      </header>
      {board.entries.length === 0 ? (
        <EmptyState
          action={<LinkButton to={`/o/${board.org}/submit/${board.recipe}`}>Enter a run</LinkButton>}
        >
          No entries. A finished run of {board.recipe} with the frozen values enters by itself.
        </EmptyState>
      ) : (
        <div className="card table-scroll">
          <table className="table" aria-label={`Ranking of ${board.name}`}>
            <thead>
              <tr>
                <th scope="col">Rank</th>
                <th scope="col">Entry</th>
                <th scope="col">
                  <AxisHead axis={axis} />
                  <span className="visually-hidden">On one axis</span>
                </th>
                <th scope="col" className="number">
                  {board.metric} <span className="quiet">{unitOf(board.metric)} ± 95 %</span>
                </th>
                <th scope="col" className="number">
                  n
                </th>
                {hasTarget && (
                  <th scope="col" className="number">
                    Reached
                  </th>
                )}
                {hasTarget && (
                  <th scope="col" className="number">
                    Steps to target
                  </th>
                )}
                {board.columns.map((key) => (
                  <th scope="col" className="number" key={key}>
                    {key}{" "}
                    {!["", "bytes"].includes(unitOf(key)) && <span className="quiet">{unitOf(key)}</span>}
                  </th>
                ))}
                <th scope="col">Runs</th>
              </tr>
            </thead>
            <tbody>
              {board.entries.map((entry, at) => (
                <EntryRow
                  key={entry.spec_hash}
                  board={board}
                  entry={entry}
                  style={at}
                  axis={axis}
                  unitOf={unitOf}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {board.entries.length > 0 && (
        <p className="second">
          Entries whose 95 % intervals overlap share a rank range; the small dots are the seeds.
          {hasTarget && " The thin line marks the target."} An entry with fewer seeds than the rule asks for
          is marked.
        </p>
      )}
    </>
  );
}

function rankText(rank: readonly [number, number] | readonly number[] | null): string {
  const [from, to] = rank ?? [];
  if (from === undefined || to === undefined) return "–";
  return from === to ? String(from) : `${from}–${to}`;
}

function EntryRow({
  board,
  entry,
  style,
  axis,
  unitOf,
}: {
  board: BenchmarkDetail;
  entry: BenchmarkEntry;
  style: number;
  axis: AxisRange;
  unitOf: (key: string) => string;
}) {
  const half = entry.lo === null || entry.hi === null ? null : (entry.hi - entry.lo) / 2;
  const text = entry.mean === null ? null : formatInterval(entry.mean, half);
  const differs = leaves(entry.spec)
    .map(
      ([path, value]) =>
        `${path} ${typeof value === "number" ? formatConfigNumber(value) : typeof value === "string" ? value : JSON.stringify(value)}`,
    )
    .join(", ");
  const missed = board.target !== null && entry.reached !== null && entry.reached < entry.n;
  return (
    <tr>
      <td>
        <b>{rankText(entry.rank)}</b>
      </td>
      <td>
        <span className="board-entry" title={differs}>
          <Swatch index={style} />
          <b>{entry.label}</b>
          {!entry.complete && (
            <span className="tag">
              {entry.n} of {plural(board.seeds, "seed")}
            </span>
          )}
          {entry.failed > 0 && <span className="bad-text">{entry.failed} failed</span>}
        </span>
      </td>
      <td>
        {entry.mean === null ? (
          <span className="quiet">did not reach, 0 of {entry.n}</span>
        ) : (
          <IntervalDot
            axis={axis}
            style={style}
            mean={entry.mean}
            lo={entry.lo}
            hi={entry.hi}
            seeds={entry.values}
            baseline={board.target}
            label={`${entry.label}: ${text?.value ?? ""} ${text?.half === null ? "" : `± ${text?.half ?? ""}`}`}
          />
        )}
      </td>
      <td className="number">
        {text === null ? (
          "did not reach"
        ) : (
          <>
            <b>{text.value}</b> {text.half !== null && `± ${text.half}`}
          </>
        )}
      </td>
      <td className="number">{entry.n}</td>
      {board.target !== null && (
        <td className={missed ? "number warn-text" : "number"}>
          {entry.reached === null ? "–" : `${entry.reached} of ${entry.n}`}
        </td>
      )}
      {board.target !== null && <td className="number">{stepsText(entry)}</td>}
      {board.columns.map((key) => (
        <td className="number" key={key}>
          {besideText(entry.columns[key] ?? null, unitOf(key))}
        </td>
      ))}
      <td>
        <Link to={`/o/${board.org}/compare?runs=${entry.runs.join(",")}`}>
          {plural(entry.runs.length, "run")}
        </Link>
      </td>
    </tr>
  );
}

function stepsText(entry: BenchmarkEntry): string {
  const steps = entry.steps_to_target;
  if (steps === null) return "did not reach";
  const text = formatInterval(steps.mean, steps.half_width);
  return text.half === null ? formatInteger(steps.mean) : `${text.value} ± ${text.half}`;
}

function besideText(found: BenchmarkEntry["columns"][string], unit: string): string {
  if (found === null) return "–";
  if (unit === "bytes") return formatBytes(found.mean);
  const text = formatInterval(found.mean, found.half_width);
  return text.half === null ? formatValue(found.mean) : `${text.value} ± ${text.half}`;
}
