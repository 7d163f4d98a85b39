import { createColumnHelper, type ColumnDef } from "@tanstack/react-table";
import { Link } from "react-router";
import type { RecipeMetric, Run, SeriesAnswer } from "@/api/types";
import { Better } from "@/charts/ChartFrame";
import { Sparkline, type SparkPoints } from "@/charts/Sparkline";
import { formatConfigNumber, fromWire, plural } from "@/lib/numbers";
import { getAt, sameJson } from "@/lib/paths";
import { isActive, isOver, statesSentence } from "@/lib/runStates";
import { Id } from "@/ui/Notes";
import { MeanCell, ValueText } from "@/ui/Quantity";
import { StateBars, StateChip } from "@/ui/StateChip";
import { Swatch } from "@/ui/Swatch";
import { Icon } from "@/ui/Icon";
import { elapsedText, RunProgressText } from "./RunProgressText";
import { PARAM } from "./choices";
import { liveMean, runsIn, type Row } from "./rows";

export interface SparkColumn {
  readonly key: string;
  readonly byRun: ReadonlyMap<string, SparkPoints>;
  readonly yRange: readonly [number, number];
}

export interface ColumnsInput {
  readonly org: string;
  readonly metrics: readonly RecipeMetric[];
  /** params.PATH, as in the query language. */
  readonly params: readonly string[];
  readonly spark: SparkColumn | null;
  readonly grouped: boolean;
  /** Whether a row stands for several runs. */
  readonly halves: boolean;
  readonly onToggleGroup: (row: Row) => void;
}

/** A longer name leaves no room for the id; the name links to the run, which shows it. */
const LONG_NAME = 22;

const helper = createColumnHelper<Row>();

export function sparkColumn(key: string, answers: readonly SeriesAnswer[]): SparkColumn {
  const byRun = new Map<string, SparkPoints>();
  const finite: number[] = [];
  for (const answer of answers) {
    if (answer.key !== key || answer.x.length === 0) continue;
    const y = answer.value.map((value) => fromWire(value));
    const broken = answer.non_finite.at(-1);
    const lastX = answer.x.at(-1) ?? 0;
    const x = [...answer.x];
    if (broken !== undefined && broken.x >= lastX && Number.isFinite(y.at(-1))) {
      x.push(broken.x);
      y.push(NaN);
    }
    byRun.set(answer.run, { x, y });
    finite.push(...y.filter(Number.isFinite));
  }
  finite.sort((a, b) => a - b);
  const at = (share: number): number => finite[Math.floor(share * (finite.length - 1))] ?? 0;
  return { key, byRun, yRange: [at(0), at(0.98)] };
}

function NameCell({
  row,
  org,
  grouped,
  onToggle,
}: {
  row: Row;
  org: string;
  grouped: boolean;
  onToggle: () => void;
}) {
  if (row.kind === "group") {
    return (
      <span className="run-name">
        <button
          type="button"
          className="chevron"
          aria-expanded={row.open}
          aria-label={`Runs of ${row.group.label}`}
          onClick={onToggle}
        >
          <Icon name={row.open ? "chevronDown" : "chevronRight"} size={14} />
        </button>
        <Swatch index={row.style} />
        <b title={row.group.label}>{row.group.label}</b>
        <span className="quiet">{plural(row.group.n, "run")}</span>
      </span>
    );
  }
  const { run } = row;
  return (
    <span
      className={row.nested ? "run-name run-name-nested" : grouped ? "run-name run-name-lone" : "run-name"}
    >
      {grouped && !row.nested && <Swatch index={row.style} />}
      <Link to={`/o/${org}/runs/${run.id}`} title={run.name}>
        {row.nested ? `seed ${run.seed}` : run.name}
      </Link>
      {run.name.length <= LONG_NAME && <Id id={run.id} />}
    </span>
  );
}

/** `halves`: other rows have intervals, for which room is kept so that values stand below each other. */
function MetricCell({ row, metric, halves }: { row: Row; metric: string; halves: boolean }) {
  if (row.kind === "run") {
    const summary = row.run.metrics[metric];
    const value = summary === undefined ? null : summary.last;
    if (value === null && summary !== undefined && summary.n > 0) return <ValueText value={NaN} />;
    return (
      <span className="mean">
        <ValueText value={value === null ? null : fromWire(value)} />
        {halves && <span className="mean-half" />}
      </span>
    );
  }
  const aggregate = row.group.metrics[metric];
  if (aggregate !== undefined) {
    return <MeanCell mean={fromWire(aggregate.mean)} halfWidth={aggregate.half_width} n={aggregate.n} />;
  }
  const now = liveMean(row.members, metric);
  if (now === null)
    return (
      <span className="mean">
        <ValueText value={null} />
        <span className="mean-half" />
      </span>
    );
  return (
    <span className="mean">
      <ValueText value={now.mean} />
      <span className="mean-half">
        <span className="tag">n {now.n}, live</span>
      </span>
    </span>
  );
}

/** A value of the configuration; a group's members share it, unless they were grouped by something else. */
function ParamCell({ row, path }: { row: Row; path: string }) {
  const [first, ...others] = runsIn(row).map((run) => getAt(run.spec, path));
  if (others.some((other) => !sameJson(other, first))) return <span className="quiet">several</span>;
  if (first === undefined) return <span className="quiet">–</span>;
  const text =
    typeof first === "number"
      ? formatConfigNumber(first)
      : typeof first === "string"
        ? first
        : JSON.stringify(first);
  return (
    <span className="mono second" title={text}>
      {text}
    </span>
  );
}

function SparkCell({ row, spark }: { row: Row; spark: SparkColumn }) {
  const runs: readonly Run[] = row.kind === "run" ? [row.run] : row.members;
  const found = runs.flatMap((run) => spark.byRun.get(run.id) ?? []);
  const longest = found.reduce<SparkPoints | null>(
    (best, one) => (best === null || one.x.length > best.x.length ? one : best),
    null,
  );
  const budget = Math.max(0, ...runs.map((run) => run.progress?.total ?? 0));
  if (longest === null) {
    const waits = runs.every((run) => !isOver(run.state));
    return <span className="quiet">{waits ? "no points yet" : "–"}</span>;
  }
  return (
    <Sparkline
      points={longest}
      style={row.style}
      xMax={Math.max(budget, longest.x.at(-1) ?? 0)}
      yRange={spark.yRange}
      label={`${spark.key} of ${row.kind === "run" ? row.run.name : row.group.label}`}
    />
  );
}

export function tableColumns(input: ColumnsInput): ColumnDef<Row>[] {
  const { org, grouped, spark, metrics, params } = input;
  const fixed: ColumnDef<Row>[] = [
    helper.display({
      id: "name",
      size: 264,
      header: "Name",
      meta: { sort: "name" },
      cell: ({ row }) => (
        <NameCell
          row={row.original}
          org={org}
          grouped={grouped}
          onToggle={() => input.onToggleGroup(row.original)}
        />
      ),
    }),
    helper.display({
      id: "state",
      size: 108,
      header: "State",
      meta: { sort: "state" },
      cell: ({ row }) =>
        row.original.kind === "run" ? (
          <StateChip state={row.original.run.state} />
        ) : (
          <StateBars states={row.original.states} label={statesSentence(row.original.states)} />
        ),
    }),
    helper.display({
      id: "progress",
      size: 226,
      header: "Progress, or why it waits",
      cell: ({ row }) =>
        row.original.kind === "run" ? (
          <RunProgressText run={row.original.run} />
        ) : (
          <span className="second">{statesSentence(row.original.states)}</span>
        ),
    }),
  ];
  const curve: ColumnDef<Row>[] =
    spark === null
      ? []
      : [
          helper.display({
            id: "curve",
            size: 112,
            header: `${spark.key}, curve`,
            cell: ({ row }) => <SparkCell row={row.original} spark={spark} />,
          }),
        ];
  const values = metrics.map((metric) =>
    helper.display({
      id: `metric:${metric.key}`,
      size: Math.min(200, Math.max(132, 44 + 6.6 * `${metric.key} ${metric.unit}`.length)),
      meta: { sort: `metric:${metric.key}`, number: true },
      header: () => (
        <>
          {metric.key} <span className="quiet">{metric.unit}</span>
          {metric.goal !== null && <Better goal={metric.goal} />}
        </>
      ),
      cell: ({ row }) => <MetricCell row={row.original} metric={metric.key} halves={input.halves} />,
    }),
  );
  const settings = params.map((column) =>
    helper.display({
      id: column,
      size: Math.min(190, Math.max(96, 30 + 6.6 * (column.length - PARAM.length))),
      meta: { sort: column },
      header: () => <span title={column}>{column.slice(PARAM.length)}</span>,
      cell: ({ row }) => <ParamCell row={row.original} path={column.slice(PARAM.length)} />,
    }),
  );
  const elapsed = helper.display({
    id: "elapsed",
    size: 88,
    header: "Elapsed",
    meta: { sort: "created_at", number: true },
    cell: ({ row }) => <ElapsedCell row={row.original} />,
  });
  return [...fixed, ...curve, ...settings, ...values, elapsed];
}

function ElapsedCell({ row }: { row: Row }) {
  if (row.kind === "run") return <span className="second">{elapsedText(row.run)}</span>;
  const longest = [...row.members]
    .filter((run) => run.started_at !== null && (isActive(run.state) || isOver(run.state)))
    .sort((a, b) => (a.started_at ?? "").localeCompare(b.started_at ?? ""))[0];
  return <span className="second">{longest === undefined ? "–" : elapsedText(longest)}</span>;
}
