/** What the organisation keeps and what it has thrown away. */

import { queryOptions } from "@tanstack/react-query";
import type { components } from "./generated/schema";
import { api, body } from "./http";

type S = components["schemas"];
export type Storage = S["StorageOut"];
export type StoragePolicy = S["StoragePolicyIn"];
export type TrashItem = S["TrashItem"];

export const storageQuery = (org: string) =>
  queryOptions({
    queryKey: ["storage", org],
    queryFn: ({ signal }) =>
      body<Storage>(api.GET("/api/v1/orgs/{org}/storage", { params: { path: { org } }, signal })),
  });

export const trashQuery = (org: string) =>
  queryOptions({
    queryKey: ["trash", org],
    queryFn: ({ signal }) =>
      body<S["TrashList"]>(api.GET("/api/v1/trash", { params: { query: { org } }, signal })),
  });

export async function setStoragePolicy(org: string, policy: StoragePolicy): Promise<Storage> {
  return body(api.PUT("/api/v1/orgs/{org}/storage", { params: { path: { org } }, body: policy }));
}

export async function throwAwayRun(run: string): Promise<void> {
  await api.DELETE("/api/v1/runs/{run}", { params: { path: { run } } });
}

export async function restoreItem(item: string): Promise<void> {
  await api.POST("/api/v1/trash/{item}/restore", { params: { path: { item } } });
}

/** Bytes that came free. */
export async function purgeItem(item: string): Promise<number> {
  const freed = await body<S["FreedOut"]>(api.DELETE("/api/v1/trash/{item}", { params: { path: { item } } }));
  return freed.freed_bytes;
}
