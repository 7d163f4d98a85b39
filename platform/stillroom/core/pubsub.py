"""The live bus: hints over Valkey, published after commit. Losing one loses nothing; readers compare sequence numbers.

Frames of a run go over plain pub/sub to each web process's hub. Rare events go to a Channels group.
"""

from __future__ import annotations

import asyncio
import threading
import time
from functools import cache
from typing import Any

import redis
import structlog
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction

from stillroom.core.tenancy import current_scope

log = structlog.get_logger(__name__)

PREFIX = "sr:live:"
RETRY_AFTER_FAILURE_S = 2.0
PROGRESS_EVERY_S = 1.0


class Publisher:
    """Publishes bytes; while Valkey is away it returns at once and tries again every two seconds."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        self._silent_until = 0.0

    def publish(self, channel: str, payload: bytes) -> int:
        """Send a hint and say how many processes listen; failures are logged, forgotten and count as nobody."""
        if time.monotonic() < self._silent_until:
            return 0
        try:
            return int(self._client.publish(channel, payload))
        except (redis.RedisError, OSError) as error:
            self._silent_until = time.monotonic() + RETRY_AFTER_FAILURE_S
            log.warning("pubsub.publish_failed", channel=channel, error=str(error))
            return 0


@cache
def _publisher() -> Publisher:
    return Publisher(settings.REDIS_URL)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One event loop in a thread of its own, for the channel layer's connections of this process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="pubsub", daemon=True).start()
    return loop


def run_channel(run_id: str) -> str:
    """The channel that carries a run's frames."""
    return f"{PREFIX}{run_id}"


def publish_frame(run_id: str, frame: bytes) -> int:
    """Hand one encoded frame to the hubs that follow the run; returns how many do."""
    return _publisher().publish(run_channel(run_id), frame)


def announce(group: str, kind: str, payload: dict[str, Any]) -> None:
    """Tell everybody who watches `group` (see `live.consumers` for the groups) that something changed."""
    message = {"type": f"notice.{kind}", "payload": payload}
    asyncio.run_coroutine_threadsafe(_group_send(group, message), _loop())


async def _group_send(group: str, message: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(2):
            await get_channel_layer().group_send(group, message)
    except (redis.RedisError, OSError, TimeoutError) as error:
        log.warning("pubsub.announce_failed", group=group, error=str(error))


def project_group(project_id: str) -> str:
    return f"project.{project_id}"


def org_group(tenant_id: str) -> str:
    return f"org.{tenant_id}"


def user_group(user_id: str) -> str:
    return f"user.{user_id}"


def announce_rights(user_id: str) -> None:
    """When the open transaction commits, let the person's open sockets look at their rights again, at once."""
    scope = current_scope()
    transaction.on_commit(lambda: announce(user_group(user_id), "rights", {}), using=scope.alias if scope else None)


_announced: dict[str, float] = {}


def announce_progress(run_id: str, project_id: str) -> None:
    """Tell the project's watchers that a run went on, at most once a second and run."""
    now = time.monotonic()
    if now - _announced.get(run_id, 0.0) < PROGRESS_EVERY_S:
        return
    if len(_announced) > 10_000:
        _announced.clear()
    _announced[run_id] = now
    announce(project_group(project_id), "run", {"run": run_id, "project": project_id})
