import { queryOptions, useQuery } from "@tanstack/react-query";
import { ApiError, getJson, request } from "./http";
import type { Me, OrgOfMe } from "./types";

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => getJson<Me>("/me", undefined, signal),
  staleTime: 5 * 60_000,
});

export function useMe(): Me | undefined {
  return useQuery(meQuery).data;
}

export function useOrg(slug: string | undefined): OrgOfMe | undefined {
  return useMe()?.orgs.find((org) => org.slug === slug);
}

interface AllauthErrors {
  readonly errors?: readonly { readonly message?: string; readonly param?: string }[];
}

async function refused(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => ({}))) as AllauthErrors;
  const message = body.errors?.[0]?.message;
  return new ApiError(response.status, {
    code: "auth.refused",
    message: message ?? "The e-mail address or the password is not right.",
  });
}

/** django-allauth's headless API has an error shape of its own; it becomes ours here. */
export async function signIn(email: string, password: string): Promise<void> {
  await request("/api/v1/me", { quiet: true }).catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
  });
  const token = /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  const response = await fetch("/_allauth/browser/v1/auth/login", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", "X-CSRFToken": decodeURIComponent(token) },
    body: JSON.stringify({ email, password }),
  });
  if (!response.ok && response.status !== 409) throw await refused(response);
}

/** Answers 401 when the session has ended, which is what was asked for. */
export async function signOut(): Promise<void> {
  await request("/_allauth/browser/v1/auth/session", { method: "DELETE", quiet: true }).catch(
    (error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
    },
  );
}
