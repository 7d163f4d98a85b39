import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import { useParams } from "react-router";
import { ApiError } from "@/api/http";
import { createToken, revokeToken, tokensQuery } from "@/api/orgs";
import type { TokenMade } from "@/api/types";
import { useNow } from "@/lib/clock";
import { formatDay, formatTime } from "@/lib/times";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { say, sayError } from "@/ui/toasts";
import { Secret } from "./MembersPage";
import "./org.css";

type Scope = "read" | "write" | "admin";
const scopeSets: readonly (readonly [string, Scope[]])[] = [
  ["read", ["read"]],
  ["read and write", ["read", "write"]],
  ["read, write and admin", ["read", "write", "admin"]],
];

export function TokensPage() {
  const { org = "" } = useParams();
  const client = useQueryClient();
  const now = useNow(60_000);
  const tokens = useQuery(tokensQuery(org));
  const [made, setMade] = useState<TokenMade | null>(null);
  const refresh = (): void => void client.invalidateQueries({ queryKey: ["tokens", org] });
  const items = (tokens.data?.items ?? []).filter((token) => token.revoked_at === null);
  return (
    <PageFrame title="Tokens">
      <div className="page-body">
        <MakeToken
          org={org}
          onMade={(token) => {
            setMade(token);
            refresh();
          }}
        />
        {made !== null && (
          <Secret title={`Token ${made.name}`} secret={made.token} onClose={() => setMade(null)} />
        )}
        {tokens.isPending && <Skeleton />}
        {tokens.isError && <ErrorNote error={tokens.error} retry={() => void tokens.refetch()} />}
        {tokens.isSuccess && items.length === 0 && (
          <EmptyState script={`export STILLROOM_URL=${location.origin} STILLROOM_TOKEN=sr_api_...`}>
            No tokens. A token lets a script or the command line act for you in this organisation.
          </EmptyState>
        )}
        {items.length > 0 && (
          <div className="card table-scroll">
            <table className="table" aria-label="Tokens">
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">Of</th>
                  <th scope="col">Scopes</th>
                  <th scope="col">Made</th>
                  <th scope="col">Expires</th>
                  <th scope="col">Last used</th>
                  <th scope="col">
                    <span className="visually-hidden">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {items.map((token) => (
                  <tr key={token.id}>
                    <td>
                      <b>{token.name}</b> <span className="quiet mono">{token.id}</span>
                    </td>
                    <td className="second">{token.user}</td>
                    <td className="second">{token.scopes.join(", ")}</td>
                    <td className="second">{formatDay(token.created_at)}</td>
                    <td className={Date.parse(token.expires_at) < now ? "warn-text" : "second"}>
                      {formatDay(token.expires_at)}
                    </td>
                    <td className="second">
                      {token.last_used_at === null ? "never" : formatTime(token.last_used_at)}
                    </td>
                    <td className="number">
                      <Button
                        small
                        look="quiet"
                        onClick={() => {
                          revokeToken(token.id)
                            .then(() => say(`Token ${token.name} no longer works.`))
                            .catch(sayError)
                            .finally(refresh);
                        }}
                      >
                        Revoke
                      </Button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </div>
    </PageFrame>
  );
}

function MakeToken({ org, onMade }: { org: string; onMade: (token: TokenMade) => void }) {
  const [name, setName] = useState("");
  const [scope, setScope] = useState(1);
  const [days, setDays] = useState("90");
  const [error, setError] = useState<unknown>(null);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    createToken(org, {
      name: name.trim(),
      scopes: scopeSets[scope]?.[1] ?? ["read"],
      expires_in_days: Number(days),
    })
      .then((token) => {
        setName("");
        setError(null);
        onMade(token);
      })
      .catch((failure: unknown) => setError(failure));
  };
  const said = error instanceof ApiError ? (Object.values(error.fields)[0] ?? error.message) : null;
  return (
    <form className="org-add" onSubmit={submit} noValidate>
      <label className="org-add-wide">
        <span>Name</span>
        <input
          className="input"
          value={name}
          placeholder="What it is for"
          aria-invalid={said !== null}
          onChange={(event) => setName(event.target.value)}
        />
      </label>
      <label>
        <span>May</span>
        <span className="select-frame">
          <select className="select" value={scope} onChange={(event) => setScope(Number(event.target.value))}>
            {scopeSets.map(([text], at) => (
              <option key={text} value={at}>
                {text}
              </option>
            ))}
          </select>
          <Icon name="chevronDown" size={14} />
        </span>
      </label>
      <label>
        <span>Expires</span>
        <span className="select-frame">
          <select className="select" value={days} onChange={(event) => setDays(event.target.value)}>
            <option value="7">in 7 days</option>
            <option value="30">in 30 days</option>
            <option value="90">in 90 days</option>
            <option value="366">in a year</option>
          </select>
          <Icon name="chevronDown" size={14} />
        </span>
      </label>
      <Button type="submit" look="primary">
        Make token
      </Button>
      {said !== null && (
        <p className="bad-text org-add-error" role="alert">
          {said}
        </p>
      )}
    </form>
  );
}
