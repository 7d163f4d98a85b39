import { queryOptions } from "@tanstack/react-query";
import { api, body } from "./http";
import type {
  Member,
  MemberAdded,
  NodeInfo,
  Page,
  Project,
  Quota,
  Role,
  Token,
  TokenMade,
  UsageRow,
} from "./types";

export const projectsQuery = (org: string) =>
  queryOptions({
    queryKey: ["projects", org],
    queryFn: ({ signal }) =>
      body<Page<Project>>(api.GET("/api/v1/orgs/{org}/projects", { params: { path: { org } }, signal })),
    staleTime: 30_000,
  });

export async function createProject(
  org: string,
  project: { slug: string; name: string; description: string },
): Promise<Project> {
  return body(api.POST("/api/v1/orgs/{org}/projects", { params: { path: { org } }, body: project }));
}

export const membersQuery = (org: string) =>
  queryOptions({
    queryKey: ["members", org],
    queryFn: ({ signal }) =>
      body<Page<Member>>(api.GET("/api/v1/orgs/{org}/members", { params: { path: { org } }, signal })),
  });

export async function addMember(org: string, member: { email: string; role: Role }): Promise<MemberAdded> {
  return body(api.POST("/api/v1/orgs/{org}/members", { params: { path: { org } }, body: member }));
}

export async function changeRole(org: string, user: string, role: Role): Promise<Member> {
  return body(
    api.PATCH("/api/v1/orgs/{org}/members/{user}", { params: { path: { org, user } }, body: { role } }),
  );
}

export async function removeMember(org: string, user: string): Promise<void> {
  await api.DELETE("/api/v1/orgs/{org}/members/{user}", { params: { path: { org, user } } });
}

export const tokensQuery = (org: string) =>
  queryOptions({
    queryKey: ["tokens", org],
    queryFn: ({ signal }) =>
      body<Page<Token>>(api.GET("/api/v1/tokens", { params: { query: { org } }, signal })),
  });

export async function createToken(
  org: string,
  token: { name: string; scopes: ("read" | "write" | "admin")[]; expires_in_days: number },
): Promise<TokenMade> {
  return body(api.POST("/api/v1/tokens", { params: { query: { org } }, body: token }));
}

export async function revokeToken(token: string): Promise<void> {
  await api.DELETE("/api/v1/tokens/{token}", { params: { path: { token } } });
}

export const nodesQuery = (org: string) =>
  queryOptions({
    queryKey: ["nodes", org],
    queryFn: ({ signal }) =>
      body<Page<NodeInfo>>(api.GET("/api/v1/nodes", { params: { query: { org } }, signal })),
    refetchInterval: 15_000,
  });

export const quotasQuery = (org: string) =>
  queryOptions({
    queryKey: ["quotas", org],
    queryFn: ({ signal }) =>
      body<Page<Quota>>(api.GET("/api/v1/quotas", { params: { query: { org } }, signal })),
    refetchInterval: 20_000,
  });

export const usageQuery = (org: string, since: string, until: string) =>
  queryOptions({
    queryKey: ["usage", org, since, until],
    queryFn: ({ signal }) =>
      body<Page<UsageRow>>(api.GET("/api/v1/usage", { params: { query: { org, since, until } }, signal })),
  });
