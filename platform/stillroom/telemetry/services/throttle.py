"""Token buckets in Valkey: how fast a sender and an organisation may ingest. Without Valkey nobody is held back.

A batch is let in when every bucket it draws from holds something, and then takes what it needs, into debt if it must:
so that a batch larger than a bucket gets through, and the next one waits for it. A refusal takes nothing.
"""

from __future__ import annotations

import math
import time
from functools import cache

import redis
import structlog
from django.conf import settings

from stillroom.core.errors import TooMany

log = structlog.get_logger(__name__)

PREFIX = "sr:rate:"
RETRY_AFTER_FAILURE_S = 2.0
MAX_PAUSE_S = 60

# KEYS: buckets. ARGV: for each its rate a second, its size and what is taken. Returns the number of the emptiest bucket
# (0: none is empty) and the milliseconds until it holds something again. The clock is the server's.
_TAKE = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1e6
local worst, wait, levels = 0, 0, {}
for i, key in ipairs(KEYS) do
  local rate, size = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  local old = redis.call('HMGET', key, 'level', 'at')
  local level = size
  if old[1] then level = math.min(size, tonumber(old[1]) + math.max(0, now - tonumber(old[2])) * rate) end
  levels[i] = level
  if level <= 0 then
    local need = (1 - level) / rate
    if need > wait then worst, wait = i, need end
  end
end
if worst == 0 then
  for i, key in ipairs(KEYS) do
    local rate, size = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
    local left = levels[i] - tonumber(ARGV[3 * i])
    redis.call('HSET', key, 'level', tostring(left), 'at', tostring(now))
    redis.call('PEXPIRE', key, math.ceil((size - left) / rate * 1000) + 1000)
  end
end
return {worst, math.ceil(wait * 1000)}
"""


class _Buckets:
    def __init__(self, url: str) -> None:
        client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        self._take = client.register_script(_TAKE)
        self._silent_until = 0.0

    def take(self, wanted: list[tuple[str, int, int, int]]) -> tuple[int, float]:
        """The number of the bucket that refuses (0: none) and the seconds to wait."""
        if time.monotonic() < self._silent_until:
            return 0, 0.0
        try:
            number, wait_ms = self._take(
                keys=[PREFIX + key for key, *_ in wanted],
                args=[value for _, rate, size, taken in wanted for value in (rate, size, taken)],
            )
        except (redis.RedisError, OSError) as error:
            self._silent_until = time.monotonic() + RETRY_AFTER_FAILURE_S
            log.warning("throttle.unavailable", error=str(error))
            return 0, 0.0
        return int(number), int(wait_ms) / 1000


@cache
def _buckets() -> _Buckets:
    return _Buckets(settings.REDIS_URL)


def throttle(who: str, *, tenant: str, batches: int = 0, sent_bytes: int = 0, points: int = 0) -> None:
    """Take from the buckets of a sender and its organisation; raises TooMany naming the limit and when to come back."""
    env = settings.ENV
    rates = [
        (f"batches:{who}", "batches_per_s", env.ingest_batches_per_s, batches, "This token"),
        (f"bytes:{tenant}", "bytes_per_s", env.ingest_bytes_per_s, sent_bytes, "This organisation"),
        (f"points:{tenant}", "points_per_s", env.ingest_points_per_s, points, "This organisation"),
    ]
    wanted = [rate for rate in rates if rate[3]]
    if not wanted:
        return
    burst_s = env.ingest_burst_s
    number, wait_s = _buckets().take([(key, rate, rate * burst_s, taken) for key, _, rate, taken, _ in wanted])
    if number:
        _, name, limit, _, whose = wanted[number - 1]
        told = f"{whose} may send at most {limit:,} {name.removesuffix('_per_s')} a second."
        raise TooMany(
            f"{told} Send the same batch again later.",
            retry_after_s=min(MAX_PAUSE_S, max(1, math.ceil(wait_s))),
            code="ingest.too_fast",
            fields={name: told},
            limit=limit,
        )
