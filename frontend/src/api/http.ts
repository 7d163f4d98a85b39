/** One way to call the API: the typed client with cookies, the CSRF header, the organisation, and one error class. */

import createClient, { type Middleware } from "openapi-fetch";
import type { paths } from "./generated/schema";
import { currentOrg } from "./scope";

interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly request_id: string;
  readonly caret: string;
}

export class ApiError extends Error {
  readonly code: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly requestId: string;
  /** For text that cannot be understood: the text, and a caret below the character. */
  readonly caret: string;

  constructor(
    readonly status: number,
    body: Partial<ErrorBody>,
  ) {
    super(body.message ?? `The server answered ${status}.`);
    this.code = body.code ?? `http.${status}`;
    this.fields = body.fields ?? {};
    this.requestId = body.request_id ?? "";
    this.caret = body.caret ?? "";
  }
}

let onSignedOut: () => void = () => undefined;

export function whenSignedOut(action: () => void): void {
  onSignedOut = action;
}

export function csrfToken(): string {
  const found = /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie);
  return decodeURIComponent(found?.[1] ?? "");
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const body = JSON.parse(text) as Partial<ErrorBody>;
    return new ApiError(response.status, typeof body.message === "string" ? body : {});
  } catch {
    return new ApiError(response.status, {});
  }
}

function unreachable(): ApiError {
  return new ApiError(0, {
    code: "network.unreachable",
    message: "The server did not answer. Check the connection and try again.",
  });
}

/** Collections without an organisation in their path mean the one of the page. */
const SCOPED = /\/api\/v1\/(runs|tokens|benchmarks|nodes|quotas|usage|audit)$/;

const rules: Middleware = {
  onRequest({ request }) {
    if (request.method !== "GET") request.headers.set("X-CSRFToken", csrfToken());
    const url = new URL(request.url);
    const org = currentOrg();
    if (!SCOPED.test(url.pathname) || url.searchParams.has("org") || org === null) return request;
    url.searchParams.set("org", org);
    return new Request(url, request);
  },
  async onResponse({ response }) {
    if (response.status === 401) onSignedOut();
    if (!response.ok) throw await errorOf(response);
  },
  onError({ error }) {
    return error instanceof DOMException && error.name === "AbortError" ? error : unreachable();
  },
};

export const api = createClient<paths>({ baseUrl: "", credentials: "same-origin" });
api.use(rules);

/** The body of an answer that was not an error; errors were thrown on the way. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}

/** For addresses that are not JSON: artifact texts, and django-allauth's own API. */
export async function plainRequest(path: string, init: Omit<RequestInit, "headers"> = {}): Promise<Response> {
  try {
    return await fetch(path, {
      ...init,
      credentials: "same-origin",
      headers: { "X-CSRFToken": csrfToken(), "Content-Type": "application/json" },
    });
  } catch {
    throw unreachable();
  }
}

/** A file as the body of a request; the answer is JSON. */
export async function sendFile<T>(path: string, file: Blob, type: string): Promise<T> {
  const headers = { "X-CSRFToken": csrfToken(), "Content-Type": type };
  const response = await fetch(path, {
    method: "POST",
    body: file,
    credentials: "same-origin",
    headers,
  }).catch(() => {
    throw unreachable();
  });
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as T;
}

/** A file sent by PUT, with how much of it has gone; fetch tells nothing of that. */
export function putFile(path: string, file: Blob, onShare: (share: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", path);
    request.setRequestHeader("X-CSRFToken", csrfToken());
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => onShare(event.total > 0 ? event.loaded / event.total : 0);
    request.onerror = () => reject(unreachable());
    request.onload = () => {
      if (request.status < 300) {
        resolve();
        return;
      }
      errorOf(new Response(request.responseText, { status: request.status })).then(reject, reject);
    };
    request.send(file);
  });
}
