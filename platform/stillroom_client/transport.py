"""One HTTP connection pool with retries, used by scripts and nodes alike.

Retries what may pass (no answer, 429, 5xx) with jittered, growing pauses and never what cannot (any other 4xx). It
repeats POST too: every POST of this client is idempotent by an id, a sequence number or an `Idempotency-Key`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from json import dumps
from typing import TYPE_CHECKING, Any

import httpx

from stillroom_client.errors import ApiError, BadAddress, ConnectionFailed, NotSignedIn

API_ROOT = "/api/v1"
JSON_HEADERS = {"Content-Type": "application/json"}
RETRY_AFTER_CAP_S = 60.0
ERROR_TEXT_LIMIT = 300

_NOT_JSON = object()

if TYPE_CHECKING:
    Body = bytes | Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Retries:
    """How often and how patiently. `attempts` counts the first try; pauses double from `base_s` up to `cap_s`."""

    attempts: int = 5
    base_s: float = 0.25
    cap_s: float = 10.0

    def pause_s(self, failures: int, retry_after_s: float | None) -> float:
        """Seconds to wait after that many failures: between half and all of the step, at least what the server asks."""
        step = min(self.cap_s, self.base_s * float(2 ** min(failures - 1, 30)))
        return max(step * random.uniform(0.5, 1.0), min(retry_after_s or 0.0, RETRY_AFTER_CAP_S))


ONCE = Retries(attempts=1)


@dataclass(frozen=True)
class Reply:
    """A successful answer: `data` is the decoded JSON, None when there was no body."""

    status: int
    data: Any


class Transport:
    """Calls below `{url}/api/v1`. Safe to share between threads.

    url: of the platform, "https://stillroom.example". token: sent as bearer unless a call brings its own.
    timeout_s: for each read or write; connecting gets at most 5 s. sleep: seconds; replaceable, to be woken early.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        sleep: Callable[[float], object] = time.sleep,
        user_agent: str = "stillroom-client",
    ) -> None:
        self.url = _address(url)
        self._token = token
        self._retries = retries or Retries()
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=self.url + API_ROOT,
            timeout=_timeout(timeout_s),
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        )

    def close(self) -> None:
        """Close idle connections; calls after this fail."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: Body | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        timeout_s: float | None = None,
        retries: Retries | None = None,
    ) -> Reply:
        """One call, repeated as `retries` allows.

        content: bytes, or a function that gives a fresh iterator for each try. Raises ApiError, ConnectionFailed.
        """

        encoded = None if json is None else _encoded(json)

        def once() -> Reply:
            response = self._http.request(
                method,
                path,
                content=encoded if encoded is not None else content() if callable(content) else content,
                params=params,
                headers={**({} if encoded is None else JSON_HEADERS), **self._headers(headers, token)},
                timeout=self._http.timeout if timeout_s is None else _timeout(timeout_s),
            )
            return _read(response)

        return self._repeat(once, f"{method} {path}", retries or self._retries)

    def download(
        self,
        path: str,
        take: Callable[[Iterator[bytes]], None],
        *,
        params: Mapping[str, Any] | None = None,
        token: str | None = None,
    ) -> None:
        """Stream a body into `take`, which starts afresh on every try.

        Raises ApiError, ConnectionFailed, and what `take` raises.
        """

        def once() -> Reply:
            with self._stream(path, params, token) as response:
                take(response.iter_bytes())
                return Reply(response.status_code, None)

        self._repeat(once, f"GET {path}", self._retries)

    @contextmanager
    def _stream(self, path: str, params: Mapping[str, Any] | None, token: str | None) -> Iterator[httpx.Response]:
        headers = self._headers({"Accept": "*/*"}, token)
        with self._http.stream("GET", path, params=params, headers=headers) as response:
            if not response.is_success:
                response.read()
                _read(response)
            yield response

    def _headers(self, extra: Mapping[str, str] | None, token: str | None) -> dict[str, str]:
        bearer = token or self._token
        if bearer and not (bearer.isascii() and bearer.isprintable() and " " not in bearer):
            raise NotSignedIn("The token has characters that no token has. Copy it again; see STILLROOM_TOKEN.")
        return {**({"Authorization": f"Bearer {bearer}"} if bearer else {}), **(extra or {})}

    def _repeat(self, once: Callable[[], Reply], what: str, retries: Retries) -> Reply:
        failures = 0
        while True:
            retry_after_s: float | None = None
            try:
                return once()
            except ApiError as error:
                if not error.may_pass or failures + 1 >= retries.attempts:
                    raise
                retry_after_s = error.retry_after_s
            except httpx.RequestError as error:
                if failures + 1 >= retries.attempts:
                    reason = str(error) or type(error).__name__
                    raise ConnectionFailed(f"No answer from {self.url} to {what}: {reason}.") from error
            failures += 1
            self._sleep(retries.pause_s(failures, retry_after_s))


def _address(url: str) -> str:
    """The address without a slash at its end. Raises BadAddress."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise BadAddress(f"{url!r} is not an address like https://stillroom.example: {error}.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadAddress(f"{url!r} is not an address like https://stillroom.example.")
    return url.rstrip("/")


def _encoded(value: Any) -> bytes:
    """JSON; half of a surrogate pair, which no UTF-8 has, becomes a question mark."""
    text = dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


def _timeout(timeout_s: float) -> httpx.Timeout:
    return httpx.Timeout(timeout_s, connect=min(5.0, timeout_s))


def _read(response: httpx.Response) -> Reply:
    try:
        data = response.json() if response.content else None
    except ValueError:
        data = _NOT_JSON
    if response.is_success:
        if data is _NOT_JSON:
            message = f"{response.url} did not answer with JSON. Is this the address of a Stillroom platform?"
            raise ApiError(response.status_code, "http.not_json", message)
        return Reply(response.status_code, data)
    raise _error_of(response, data)


def _error_of(response: httpx.Response, data: object) -> ApiError:
    request_id = response.headers.get("X-Request-ID", "")
    retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
    if isinstance(data, dict) and isinstance(data.get("code"), str):
        fields = data.get("fields")
        return ApiError(
            response.status_code,
            data["code"],
            str(data.get("message") or data["code"]),
            fields={str(k): str(v) for k, v in fields.items()} if isinstance(fields, dict) else None,
            request_id=str(data.get("request_id") or request_id),
            body=data,
            retry_after_s=retry_after_s,
        )
    if response.is_redirect:
        target = response.headers.get("Location", "elsewhere")
        message = f"{response.url} redirects to {target}. Use that address as STILLROOM_URL."
    else:
        text = " ".join(response.text.split())[:ERROR_TEXT_LIMIT]
        message = f"{response.url} answered {response.status_code} {response.reason_phrase}. {text}".rstrip()
    code = f"http.{response.status_code}"
    return ApiError(response.status_code, code, message, request_id=request_id, retry_after_s=retry_after_s)


def _retry_after_s(header: str | None) -> float | None:
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
