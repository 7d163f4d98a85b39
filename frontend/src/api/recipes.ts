import { queryOptions } from "@tanstack/react-query";
import { api, body } from "./http";
import type { Page, Recipe, RecipeDetail } from "./types";

export const recipesQuery = queryOptions({
  queryKey: ["recipes"],
  queryFn: ({ signal }) => body(api.GET("/api/v1/recipes", { signal })) as Promise<Page<Recipe>>,
  staleTime: 10 * 60_000,
});

/** External runs have no recipe, and then nothing is asked. */
export const recipeQuery = (name: string) =>
  queryOptions({
    queryKey: ["recipes", name],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/recipes/{name}", { params: { path: { name } }, signal }),
      ) as Promise<RecipeDetail>,
    staleTime: 10 * 60_000,
    enabled: name !== "",
  });
