import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router";
import { recipesQuery } from "@/api/recipes";
import type { Recipe } from "@/api/types";
import { formatDuration } from "@/lib/times";
import { ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import "./submit.css";

const families: Readonly<Record<string, string>> = {
  model: "Models",
  distillation: "Distillation",
  optimizer: "Optimizers",
  federated: "Federated learning",
};

type ToForm = (recipe: Recipe, example?: number, template?: string) => string;

function Card({ recipe, link }: { recipe: Recipe; link: ToForm }) {
  const about = firstParagraph(recipe.description);
  return (
    <article className="card gallery-card">
      <h3>
        <Link to={link(recipe)}>{recipe.title}</Link>
      </h3>
      <p className="second" title={about}>
        {about}
      </p>
      <p className="gallery-facts">
        <code>
          {recipe.name} {recipe.version}
        </code>
        <span>ranked by {recipe.metrics.find((metric) => metric.primary)?.key}</span>
      </p>
      <ul>
        {recipe.examples.map((example, at) => (
          <li key={example.title}>
            <Link to={link(recipe, at)}>{example.title}</Link>
            {example.cost_s > 0 && <span className="quiet"> about {formatDuration(example.cost_s)}</span>}
          </li>
        ))}
        {recipe.templates.map((template) => (
          <li key={template.name}>
            <Link to={link(recipe, undefined, template.name)}>{template.title}</Link>
            <span className="quiet">
              {" "}
              study, {template.arms.length} arms × {template.seeds.length} seeds
              {template.cost_s > 0 && `, about ${formatDuration(template.cost_s)}`}
            </span>
          </li>
        ))}
      </ul>
    </article>
  );
}

export function GalleryPage() {
  const { org = "" } = useParams();
  const [params] = useSearchParams();
  const recipes = useQuery(recipesQuery);
  const carry = params.get("project");
  const link: ToForm = (recipe, example, template) => {
    const query = new URLSearchParams();
    if (carry !== null) query.set("project", carry);
    if (example !== undefined) query.set("example", String(example));
    if (template !== undefined) query.set("template", template);
    const text = query.toString();
    return `/o/${org}/submit/${recipe.name}${text === "" ? "" : `?${text}`}`;
  };
  const items = recipes.data?.items ?? [];
  const groups = [...new Set([...Object.keys(families), ...items.map((recipe) => recipe.family)])]
    .map((family) => ({ family, members: items.filter((recipe) => recipe.family === family) }))
    .filter((group) => group.members.length > 0);
  return (
    <PageFrame title="Submit">
      <div className="page-body">
        {recipes.isPending && <Skeleton lines={8} />}
        {recipes.isError && <ErrorNote error={recipes.error} retry={() => void recipes.refetch()} />}
        {groups.map(({ family, members }) => (
          <section key={family} className="gallery-family" aria-labelledby={`family-${family}`}>
            <h2 id={`family-${family}`}>{families[family] ?? family}</h2>
            <div className="gallery">
              {members.map((recipe) => (
                <Card key={recipe.name} recipe={recipe} link={link} />
              ))}
            </div>
          </section>
        ))}
      </div>
    </PageFrame>
  );
}

function firstParagraph(text: string): string {
  const [paragraph = ""] = text.split("\n\n");
  return paragraph.replaceAll(/\s+/g, " ").replaceAll("`", "");
}
