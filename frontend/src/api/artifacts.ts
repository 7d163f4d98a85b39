/** Files of a run: where they lie, and a first look into them. */

import { queryOptions } from "@tanstack/react-query";
import type { components } from "./generated/schema";
import { api, body } from "./http";

export type ArtifactLook = components["schemas"]["PreviewOut"];

export function artifactUrl(run: string, path: string): string {
  return `/api/v1/runs/${run}/artifacts/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/** `sha256` names the content: a file that was written again is looked at again. */
export const artifactPreviewQuery = (run: string, path: string, sha256: string) =>
  queryOptions({
    queryKey: ["artifact-preview", run, path, sha256],
    queryFn: ({ signal }) =>
      body<ArtifactLook>(
        api.GET("/api/v1/runs/{run}/previews/{path}", { params: { path: { run, path } }, signal }),
      ),
    staleTime: Infinity,
  });
