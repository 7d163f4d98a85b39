"""Who may open a socket: a browser with a session from an allowed origin, or a script with a bearer token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as aioredis
from channels.db import database_sync_to_async
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from redis.exceptions import RedisError

from stillroom.accounts.sessions import user_of_cookie
from stillroom.core.errors import StillroomError
from stillroom.tenants.callers import Caller, caller_from_bearer, caller_from_user

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
REFUSED = 4401
BUS_ANSWER_S = 1.0


async def bus_answers() -> bool:
    """Whether Valkey answers within a second; a socket opens either way."""
    client = aioredis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1, retry=None)
    try:
        async with client, asyncio.timeout(BUS_ANSWER_S):
            return bool(await client.ping())
    except (RedisError, OSError, TimeoutError):
        return False


class Admission:
    """ASGI middleware that puts `scope["caller"]` (None: refused) before the consumer sees the connection."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
        scope = {**scope, "caller": await caller_of(headers), "credentials": headers}
        await self.inner(scope, receive, send)


@database_sync_to_async
def caller_of(headers: dict[str, str]) -> Caller | None:
    """The caller behind a handshake's headers. Also asked again while the socket lives, since rights may end."""
    try:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            caller = caller_from_bearer(text.strip())
            return caller if caller.user is not None else None
        if not _origin_allowed(headers.get("origin", ""), headers.get("host", "")):
            return None
        user = user_of_cookie(headers.get("cookie", ""))
        return caller_from_user(user) if user is not None else None
    except StillroomError:
        return None


def _origin_allowed(origin: str, host: str) -> bool:
    """A page of this site: an origin from the settings, or the very host that was connected to, if it is one of
    ours.
    """
    if origin in settings.LIVE_ORIGINS:
        return True
    domain, _ = split_domain_port(host)
    return urlsplit(origin).netloc == host and bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)
