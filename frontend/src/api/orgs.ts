import { queryOptions } from "@tanstack/react-query";
import { getJson, send } from "./http";
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
    queryFn: ({ signal }) => getJson<Page<Project>>(`/orgs/${org}/projects`, { limit: 200 }, signal),
    staleTime: 30_000,
  });

export async function createProject(
  org: string,
  project: { slug: string; name: string; description: string },
): Promise<Project> {
  return send<Project>("POST", `/orgs/${org}/projects`, project);
}

export const membersQuery = (org: string) =>
  queryOptions({
    queryKey: ["members", org],
    queryFn: ({ signal }) => getJson<Page<Member>>(`/orgs/${org}/members`, { limit: 200 }, signal),
  });

export async function addMember(org: string, member: { email: string; role: Role }): Promise<MemberAdded> {
  return send<MemberAdded>("POST", `/orgs/${org}/members`, member);
}

export async function changeRole(org: string, user: string, role: Role): Promise<Member> {
  return send<Member>("PATCH", `/orgs/${org}/members/${user}`, { role });
}

export async function removeMember(org: string, user: string): Promise<null> {
  return send<null>("DELETE", `/orgs/${org}/members/${user}`);
}

export const tokensQuery = (org: string) =>
  queryOptions({
    queryKey: ["tokens", org],
    queryFn: ({ signal }) => getJson<Page<Token>>("/tokens", { org, limit: 200 }, signal),
  });

export async function createToken(token: {
  name: string;
  scopes: readonly string[];
  expires_in_days: number;
}): Promise<TokenMade> {
  return send<TokenMade>("POST", "/tokens", token);
}

export async function revokeToken(id: string): Promise<null> {
  return send<null>("DELETE", `/tokens/${id}`);
}

export const nodesQuery = (org: string) =>
  queryOptions({
    queryKey: ["nodes", org],
    queryFn: ({ signal }) => getJson<Page<NodeInfo>>("/nodes", { org }, signal),
    refetchInterval: 15_000,
  });

export const quotasQuery = (org: string) =>
  queryOptions({
    queryKey: ["quotas", org],
    queryFn: ({ signal }) => getJson<Page<Quota>>("/quotas", { org }, signal),
    refetchInterval: 20_000,
  });

export const usageQuery = (org: string, from: string, to: string) =>
  queryOptions({
    queryKey: ["usage", org, from, to],
    queryFn: ({ signal }) => getJson<Page<UsageRow>>("/usage", { org, from, to }, signal),
  });
