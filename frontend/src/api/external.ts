/** Runs that a script or a person logs: taken over, written to, ended. */

import { api, body, putFile, sendFile } from "./http";
import type { Run } from "./types";

export type EndState = "SUCCEEDED" | "FAILED" | "CANCELLED";

export interface PointColumn {
  readonly key: string;
  readonly step: readonly number[];
  /** Values that are not finite as words, as on the wire. */
  readonly value: readonly (number | string)[];
  readonly time: readonly number[];
}

/** The run of a key: made the first time, found again every other. */
export async function makeExternalRun(
  org: string,
  project: string,
  run: { readonly name: string; readonly tags: Record<string, string> },
  key: string,
): Promise<Run> {
  return (await body(
    api.POST("/api/v1/orgs/{org}/projects/{project}/runs", {
      params: { path: { org, project }, header: { "Idempotency-Key": key } },
      body: { external: true, ...run } as never,
    }),
  )) as Run;
}

/** A new epoch, in which the caller alone writes; also when the run has ended. */
export async function takeOver(run: string, writer: string): Promise<number> {
  const answer = await body(
    api.POST("/api/v1/runs/{run}/reopen", { params: { path: { run } }, body: { writer } }),
  );
  return answer.epoch;
}

export async function sendPoints(
  run: string,
  epoch: number,
  seq: number,
  series: readonly PointColumn[],
): Promise<void> {
  const batch = new Blob([JSON.stringify({ epoch, seq, series })]);
  await sendFile(`/api/v1/runs/${run}/points`, batch, "application/json");
}

export async function endRun(run: string, state: EndState): Promise<void> {
  await api.POST("/api/v1/runs/{run}/finish", { params: { path: { run } }, body: { state } });
}

export async function putArtifact(
  run: string,
  epoch: number,
  path: string,
  file: Blob,
  onShare: (share: number) => void,
): Promise<void> {
  const name = path.split("/").map(encodeURIComponent).join("/");
  await putFile(`/api/v1/runs/${run}/artifacts/${name}?epoch=${epoch}`, file, onShare);
}
