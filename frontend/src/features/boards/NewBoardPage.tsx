import { useQuery } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import { useNavigate } from "react-router";
import { createBenchmark } from "@/api/benchmarks";
import { ApiError } from "@/api/http";
import { recipeQuery, recipesQuery } from "@/api/recipes";
import { currentOrg } from "@/api/scope";
import { useMe } from "@/api/session";
import type { RecipeDetail } from "@/api/types";
import { parseNumber } from "@/forms/validate";
import { formatConfigNumber, plural } from "@/lib/numbers";
import { leaves, type Json } from "@/lib/paths";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import "@/forms/forms.css";
import "./boards.css";
import { ColumnsField, MOST_COLUMNS } from "./ColumnsField";

export function NewBoardPage() {
  const recipes = useQuery(recipesQuery);
  const [chosen, choose] = useState("");
  const name = chosen === "" ? (recipes.data?.items[0]?.name ?? "") : chosen;
  const recipe = useQuery(recipeQuery(name));
  return (
    <PageFrame title="Make a leaderboard" crumbs={[{ text: "Leaderboards", to: "/leaderboards" }]}>
      <div className="page-body board-form">
        <Row id="board-recipe" title="Recipe" help="Only runs of this recipe can enter.">
          <span className="select-frame">
            <select
              id="board-recipe"
              className="select"
              value={name}
              onChange={(event) => choose(event.target.value)}
            >
              {recipes.data?.items.map((one) => (
                <option key={one.name} value={one.name}>
                  {one.title}
                </option>
              ))}
            </select>
            <Icon name="chevronDown" size={14} />
          </span>
        </Row>
        {recipes.isError && <ErrorNote error={recipes.error} />}
        {recipe.data === undefined ? <Skeleton /> : <BoardForm key={name} recipe={recipe.data} />}
      </div>
    </PageFrame>
  );
}

function BoardForm({ recipe }: { recipe: RecipeDetail }) {
  const navigate = useNavigate();
  const me = useMe();
  const org = currentOrg() ?? me?.orgs[0]?.slug ?? "";
  const [example, setExample] = useState(0);
  const spec = recipe.examples[example]?.spec ?? {};
  const all = leaves(spec);
  const [free, setFree] = useState<ReadonlySet<string>>(
    () =>
      new Set(
        all
          .map(([path]) => path)
          .filter((path) => path.startsWith("optimizer.") || path.startsWith("algorithm.")),
      ),
  );
  const primary = recipe.metrics.find((metric) => metric.primary) ?? recipe.metrics[0];
  const [metric, setMetric] = useState(primary?.key ?? "");
  const goal = recipe.metrics.find((one) => one.key === metric)?.goal ?? "min";
  const [name, setName] = useState("");
  const [target, setTarget] = useState("");
  const [seeds, setSeeds] = useState("5");
  const [reduce, setReduce] = useState<"last" | "min" | "max">("last");
  const [columns, setColumns] = useState<string[]>([]);
  const [error, setError] = useState<unknown>(null);
  const fields = error instanceof ApiError ? error.fields : {};
  const frozen = all.filter(([path]) => !free.has(path));

  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const value = target.trim() === "" ? null : parseNumber(target);
    createBenchmark(org, {
      name: name.trim(),
      description: "",
      recipe: recipe.name,
      frozen: Object.fromEntries(frozen),
      metric,
      reduce,
      goal,
      target: value,
      columns: columns.filter((key) => key !== metric),
      seeds: parseNumber(seeds) ?? 5,
    })
      .then((board) => navigate(`/leaderboards/${board.id}`))
      .catch((failure: unknown) => setError(failure));
  };
  const flip = (path: string): void => {
    const next = new Set(free);
    if (!next.delete(path)) next.add(path);
    setFree(next);
  };
  return (
    <form onSubmit={submit} className="board-form" noValidate>
      <Row
        id="board-name"
        title="Name"
        help="What is compared, for example: optimizers on the digits autoencoder."
        error={fields["name"]}
      >
        <input
          id="board-name"
          className="input"
          value={name}
          onChange={(event) => setName(event.target.value)}
        />
      </Row>
      <Row
        id="board-metric"
        title="Metric"
        help={goal === "min" ? "Lower is better." : "Higher is better."}
        error={fields["metric"]}
      >
        <span className="board-pair">
          <span className="select-frame">
            <select
              id="board-metric"
              className="select"
              value={metric}
              onChange={(event) => setMetric(event.target.value)}
            >
              {recipe.metrics.map((one) => (
                <option key={one.key}>{one.key}</option>
              ))}
            </select>
            <Icon name="chevronDown" size={14} />
          </span>
          <span className="select-frame">
            <select
              className="select"
              aria-label="Which value of a run counts"
              value={reduce}
              onChange={(event) => setReduce(event.target.value as "last" | "min" | "max")}
            >
              <option value="last">last value of a run</option>
              <option value="min">lowest value of a run</option>
              <option value="max">highest value of a run</option>
            </select>
            <Icon name="chevronDown" size={14} />
          </span>
        </span>
      </Row>
      <Row
        id="board-target"
        title="Target"
        help="Optional: steps until it is reached are listed as well. Once set it stays."
        error={fields["target"]}
      >
        <input
          id="board-target"
          className="input"
          value={target}
          onChange={(event) => setTarget(event.target.value)}
        />
      </Row>
      <Row id="board-seeds" title="Seeds" help="An entry is complete with this many." error={fields["seeds"]}>
        <input
          id="board-seeds"
          className="input"
          inputMode="numeric"
          value={seeds}
          onChange={(event) => setSeeds(event.target.value)}
        />
      </Row>
      <Row
        id="board-columns"
        title="Columns"
        help={`Up to ${MOST_COLUMNS} metrics beside the rank, without a say in it.`}
        error={fields["columns"]}
      >
        <ColumnsField metrics={recipe.metrics} ranked={metric} chosen={columns} onChange={setColumns} />
      </Row>
      <Row
        id="board-example"
        title="Frozen values"
        help={`${plural(frozen.length, "value")} frozen, ${free.size} free. Entries differ in the free values only.`}
        error={fields["frozen"]}
      >
        <span className="select-frame">
          <select
            id="board-example"
            className="select"
            value={example}
            onChange={(event) => setExample(Number(event.target.value))}
          >
            {recipe.examples.map((one, at) => (
              <option key={one.title} value={at}>
                from: {one.title}
              </option>
            ))}
          </select>
          <Icon name="chevronDown" size={14} />
        </span>
        <ul className="board-paths">
          {all.map(([path, value]) => (
            <li key={path}>
              <label className="check">
                <input type="checkbox" checked={!free.has(path)} onChange={() => flip(path)} />
                <span className="mono">{path}</span>
                <span className="mono quiet">{free.has(path) ? "free" : text(value)}</span>
              </label>
            </li>
          ))}
        </ul>
      </Row>
      {error !== null && <ErrorNote error={error} />}
      <div className="row">
        <Button type="submit" look="primary">
          Make the leaderboard
        </Button>
      </div>
    </form>
  );
}

function text(value: Json): string {
  return typeof value === "number"
    ? formatConfigNumber(value)
    : typeof value === "string"
      ? value
      : JSON.stringify(value);
}

function Row({
  id,
  title,
  help,
  error,
  children,
}: {
  id: string;
  title: string;
  help: string;
  error?: string | undefined;
  children: React.ReactNode;
}) {
  return (
    <div className={error === undefined ? "form-row" : "form-row form-row-bad"}>
      <label htmlFor={id}>{title}</label>
      <div className="form-value">
        {children}
        <p className={error === undefined ? "form-help" : "form-help form-error"}>{error ?? help}</p>
      </div>
    </div>
  );
}
