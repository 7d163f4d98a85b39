/** One way to call the API: cookies, the CSRF header, the one error shape, and a hook for "signed out". */

import { scopedPath } from "./scope";

export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly request_id: string;
}

export class ApiError extends Error {
  readonly code: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly requestId: string;

  constructor(
    readonly status: number,
    body: Partial<ErrorBody>,
  ) {
    super(body.message ?? `The server answered ${status}.`);
    this.code = body.code ?? `http.${status}`;
    this.fields = body.fields ?? {};
    this.requestId = body.request_id ?? "";
  }
}

export type QueryValue = string | number | boolean | null | undefined | readonly string[];
export type Query = Readonly<Record<string, QueryValue>>;

let onSignedOut: () => void = () => undefined;

export function whenSignedOut(action: () => void): void {
  onSignedOut = action;
}

function cookie(name: string): string {
  const found = document.cookie.split("; ").find((entry) => entry.startsWith(`${name}=`));
  return found === undefined ? "" : decodeURIComponent(found.slice(name.length + 1));
}

export function withQuery(path: string, query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    if (Array.isArray(value)) (value as readonly string[]).forEach((item) => params.append(key, item));
    else params.set(key, String(value as string | number | boolean));
  }
  const text = params.toString();
  return text === "" ? path : `${path}?${text}`;
}

export interface Call {
  readonly method?: "GET" | "POST" | "PATCH" | "PUT" | "DELETE";
  readonly body?: unknown;
  readonly signal?: AbortSignal;
  readonly idempotencyKey?: string;
  /** Sign-in reads 401 itself. */
  readonly quiet?: boolean;
}

export async function request(path: string, call: Call = {}): Promise<Response> {
  const method = call.method ?? "GET";
  const headers: Record<string, string> = { Accept: "application/json" };
  if (call.body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-CSRFToken"] = cookie("csrftoken");
  if (call.idempotencyKey !== undefined) headers["Idempotency-Key"] = call.idempotencyKey;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, {
      code: "network.unreachable",
      message: "The server did not answer. Check the connection and try again.",
    });
  }
  if (response.status === 401 && call.quiet !== true) onSignedOut();
  if (!response.ok) throw new ApiError(response.status, await errorBody(response));
  return response;
}

async function errorBody(response: Response): Promise<Partial<ErrorBody>> {
  const text = await response.text();
  try {
    const body = JSON.parse(text) as Partial<ErrorBody>;
    return typeof body.message === "string" ? body : {};
  } catch {
    return {};
  }
}

const API = "/api/v1";

export async function getJson<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> {
  const response = await request(
    API + scopedPath(withQuery(path, query)),
    signal === undefined ? {} : { signal },
  );
  return (await response.json()) as T;
}

export async function send<T>(
  method: "POST" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
  idempotencyKey?: string,
): Promise<T> {
  const response = await request(API + scopedPath(path), {
    method,
    ...(body === undefined ? {} : { body }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  });
  const text = await response.text();
  return (text === "" ? null : JSON.parse(text)) as T;
}
