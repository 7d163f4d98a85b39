import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router";
import { recipesQuery } from "@/api/recipes";
import type { Recipe } from "@/api/types";
import { formatDuration } from "@/lib/times";
import { ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import "./submit.css";

const families: Readonly<Record<string, string>> = {
  distillation: "Distillation",
  optimizer: "Optimizers",
  federated: "Federated learning",
  model: "Models",
};

export function GalleryPage() {
  const { org = "" } = useParams();
  const [params] = useSearchParams();
  const recipes = useQuery(recipesQuery);
  const byFamily = new Map<string, Recipe[]>();
  for (const recipe of recipes.data?.items ?? []) {
    byFamily.set(recipe.family, [...(byFamily.get(recipe.family) ?? []), recipe]);
  }
  const carry = params.get("project");
  const link = (recipe: Recipe, example?: number): string => {
    const query = new URLSearchParams();
    if (carry !== null) query.set("project", carry);
    if (example !== undefined) query.set("example", String(example));
    const text = query.toString();
    return `/o/${org}/submit/${recipe.name}${text === "" ? "" : `?${text}`}`;
  };
  return (
    <PageFrame title="Submit">
      <div className="page-body">
        {recipes.isPending && <Skeleton lines={8} />}
        {recipes.isError && <ErrorNote error={recipes.error} retry={() => void recipes.refetch()} />}
        {[...byFamily].map(([family, list]) => (
          <section key={family} className="gallery-family">
            <h2>{families[family] ?? family}</h2>
            <div className="gallery">
              {list.map((recipe) => (
                <article key={recipe.name} className="card gallery-card">
                  <h3>
                    <Link to={link(recipe)}>{recipe.title}</Link>
                  </h3>
                  <p className="second">{firstSentence(recipe.description)}</p>
                  <p className="gallery-facts">
                    <code>
                      {recipe.name} {recipe.version}
                    </code>
                    <span>{recipe.metrics.find((metric) => metric.primary)?.key}</span>
                  </p>
                  <ul>
                    {recipe.examples.map((example, at) => (
                      <li key={example.title}>
                        <Link to={link(recipe, at)}>{example.title}</Link>
                        {example.cost_s > 0 && (
                          <span className="quiet"> about {formatDuration(example.cost_s)}</span>
                        )}
                      </li>
                    ))}
                  </ul>
                </article>
              ))}
            </div>
          </section>
        ))}
      </div>
    </PageFrame>
  );
}

function firstSentence(text: string): string {
  const [paragraph = ""] = text.split("\n\n");
  return paragraph.replaceAll(/\s+/g, " ").replaceAll("`", "");
}
