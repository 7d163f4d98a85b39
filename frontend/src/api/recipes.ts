import { queryOptions } from "@tanstack/react-query";
import type { JsonObject } from "@/lib/paths";
import { getJson, send } from "./http";
import type { Page, Recipe, RecipeDetail } from "./types";

export const recipesQuery = queryOptions({
  queryKey: ["recipes"],
  queryFn: ({ signal }) => getJson<Page<Recipe>>("/recipes", { limit: 200 }, signal),
  staleTime: 10 * 60_000,
});

export const recipeQuery = (name: string) =>
  queryOptions({
    queryKey: ["recipes", name],
    queryFn: ({ signal }) => getJson<RecipeDetail>(`/recipes/${name}`, undefined, signal),
    staleTime: 10 * 60_000,
    enabled: name !== "",
  });

export async function validateSpec(
  recipe: string,
  spec: JsonObject,
): Promise<{ readonly spec: JsonObject; readonly spec_hash: string }> {
  return send<{ spec: JsonObject; spec_hash: string }>("POST", `/recipes/${recipe}/validate`, { spec });
}
