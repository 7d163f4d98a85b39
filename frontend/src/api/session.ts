import { queryOptions, useQuery } from "@tanstack/react-query";
import { api, ApiError, body, plainRequest } from "./http";
import type { Me, OrgOfMe } from "./types";

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => body<Me>(api.GET("/api/v1/me", { signal })),
  staleTime: 5 * 60_000,
});

export function useMe(): Me | undefined {
  return useQuery(meQuery).data;
}

export function useOrg(slug: string | undefined): OrgOfMe | undefined {
  return useMe()?.orgs.find((org) => org.slug === slug);
}

interface AllauthErrors {
  readonly errors?: readonly { readonly message?: string }[];
}

/** django-allauth's headless API has an error shape of its own; it becomes ours here. */
export async function signIn(email: string, password: string): Promise<void> {
  // Sets the CSRF cookie where the page itself did not, as under the development server.
  await plainRequest("/_allauth/browser/v1/config");
  const response = await plainRequest("/_allauth/browser/v1/auth/login", {
    method: "POST",
    body: JSON.stringify({ email, password }),
  });
  // 409: somebody is signed in already, which is as good.
  if (response.ok || response.status === 409) return;
  const answer = (await response.json().catch(() => ({}))) as AllauthErrors;
  throw new ApiError(response.status, {
    code: "auth.refused",
    message: answer.errors?.[0]?.message ?? "The e-mail address or the password is not right.",
  });
}

/** Answers 401 when the session has ended, which is what was asked for. */
export async function signOut(): Promise<void> {
  const response = await plainRequest("/_allauth/browser/v1/auth/session", { method: "DELETE" });
  if (!response.ok && response.status !== 401) throw new ApiError(response.status, {});
}
