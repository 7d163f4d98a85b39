"""The hub: one Valkey reader per process, one ring of frames per watched run, a bounded list per viewer.

Frames published over Valkey are hints. Each viewer's own position decides what it gets; what is missing is read from
PostgreSQL. Losing messages, or Valkey itself, costs at most `POLL_S` seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import redis.asyncio as aioredis
import structlog
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError

from stillroom.core import pubsub
from stillroom.core.frames import Column, decode_frame, encode_frame
from stillroom.core.tenancy import tenant_tx
from stillroom.telemetry.selectors.replay import Position, deltas, position, snapshot

log = structlog.get_logger(__name__)

RING = 256
MAX_PENDING = 512
# A frame may be megabytes: what is kept is bounded in bytes as well, for a run, for a viewer, for this process.
RING_BYTES = 16 * 1024 * 1024
MAX_PENDING_BYTES = 8 * 1024 * 1024
MERGED_BYTES = 32 * 1024 * 1024
POLL_S = 2.0
HEAD_S = 5.0


@dataclass(slots=True)
class Frame:
    """One batch of a run as it travels."""

    epoch: int
    first: int
    last: int
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> Frame:
        """Read the position from an encoded frame."""
        header, _ = decode_frame(data)
        return cls(int(header["epoch"]), int(header["from"]), int(header["to"]), data)


Send = Callable[[bytes | dict[str, Any]], Awaitable[None]]


@dataclass(eq=False, slots=True)
class Viewer:
    """One subscription of one socket to one run."""

    run_id: str
    tenant_id: str
    send: Send
    keys: frozenset[str] | None
    max_points: int
    interval_s: float
    last: Position | None
    pending: deque[Frame] = field(default_factory=deque)
    pending_bytes: int = 0
    overflowed: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def offer(self, frame: Frame) -> None:
        """Buffer a frame; beyond the bound the buffer is dropped and the viewer catches up from the database."""
        if len(self.pending) >= MAX_PENDING or self.pending_bytes + len(frame.data) > MAX_PENDING_BYTES:
            self.take()
            self.overflowed = True
        self.pending.append(frame)
        self.pending_bytes += len(frame.data)
        self.wake.set()

    def take(self) -> list[Frame]:
        """The buffered frames; the buffer is empty afterwards."""
        frames = list(self.pending)
        self.pending.clear()
        self.pending_bytes = 0
        return frames


@dataclass(eq=False, slots=True)
class Watched:
    """A run that somebody in this process watches."""

    run_id: str
    tenant_id: str
    viewers: set[Viewer] = field(default_factory=set)
    ring: deque[Frame] = field(default_factory=deque)
    ring_bytes: int = 0
    head: Position | None = None

    def receive(self, frame: Frame) -> None:
        """Take a frame from the bus; repetitions and old epochs are dropped."""
        if self.head is not None and (frame.epoch, frame.last) <= (self.head.epoch, self.head.seq):
            return
        self.head = Position(frame.epoch, frame.last)
        self.ring.append(frame)
        self.ring_bytes += len(frame.data)
        while len(self.ring) > RING or self.ring_bytes > RING_BYTES:
            self.ring_bytes -= len(self.ring.popleft().data)
        for viewer in self.viewers:
            viewer.offer(frame)

    def replay(self, since: Position, until: int) -> list[bytes] | None:
        """Frames after `since` from the ring, when it still holds all of them."""
        found = [
            frame
            for frame in self.ring
            if frame.epoch == since.epoch and since.seq < frame.first and frame.last <= until
        ]
        complete = [frame.first for frame in found] == list(range(since.seq + 1, until + 1))
        return [frame.data for frame in found] if complete else None


class Hub:
    """All watched runs of this process's event loop."""

    def __init__(self) -> None:
        self._runs: dict[str, Watched] = {}
        self._pubsub: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._merged: dict[tuple[str, int, int, int, frozenset[str] | None], bytes] = {}
        self._merged_bytes = 0

    def join(self, viewer: Viewer) -> None:
        """Start buffering for a viewer and serve it from its position on."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._read_bus()), asyncio.create_task(self._poll())]
        watched = self._runs.get(viewer.run_id)
        if watched is None:
            watched = self._runs[viewer.run_id] = Watched(viewer.run_id, viewer.tenant_id)
            asyncio.create_task(self._listen(viewer.run_id))  # noqa: RUF006  (short, and its failure is repaired by the poll)
        watched.viewers.add(viewer)
        viewer.task = asyncio.create_task(self._serve(watched, viewer))

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer; the last one of a run ends the run's subscription."""
        if viewer.task is not None:
            viewer.task.cancel()
        watched = self._runs.get(viewer.run_id)
        if watched is None:
            return
        watched.viewers.discard(viewer)
        if not watched.viewers:
            del self._runs[viewer.run_id]
            asyncio.create_task(self._unlisten(viewer.run_id))  # noqa: RUF006  (a left-over subscription is harmless)

    def head(self, run_id: str) -> Position | None:
        """The newest position known here."""
        watched = self._runs.get(run_id)
        return watched.head if watched else None

    async def _serve(self, watched: Watched, viewer: Viewer) -> None:
        """Bring the viewer to the head and keep it there, at most once an interval, at once after a pause."""
        try:
            await self._catch_up(watched, viewer)
            while True:
                await viewer.wake.wait()
                viewer.wake.clear()
                started = time.monotonic()
                await self._deliver(watched, viewer)
                await asyncio.sleep(max(0.0, viewer.interval_s - (time.monotonic() - started)))
        except asyncio.CancelledError:
            raise
        except (OperationalError, InterfaceError, PoolTimeout):
            await viewer.send({"type": "resync", "run": viewer.run_id, "reason": "database"})
        except Exception:
            log.exception("live.viewer_failed", run=viewer.run_id)
            await viewer.send({"type": "resync", "run": viewer.run_id, "reason": "internal"})

    async def _deliver(self, watched: Watched, viewer: Viewer) -> None:
        last = viewer.last
        frames = [
            frame for frame in viewer.take() if last is None or (frame.epoch, frame.last) > (last.epoch, last.seq)
        ]
        if viewer.overflowed or not frames:
            if viewer.overflowed:
                viewer.overflowed = False
                await self._catch_up(watched, viewer)
            return
        contiguous = last is not None and all(
            frame.epoch == last.epoch and frame.first == last.seq + 1 + index for index, frame in enumerate(frames)
        )
        if not contiguous:
            await self._catch_up(watched, viewer)
            return
        await viewer.send(self._merge(viewer, frames))
        viewer.last = Position(frames[-1].epoch, frames[-1].last)

    async def _catch_up(self, watched: Watched, viewer: Viewer) -> None:
        """From the ring, from the stored batches, or by a fresh snapshot: whichever reaches the head first."""
        head = await _position(viewer)
        last = viewer.last
        if last is not None and last.epoch == head.epoch and last.seq <= head.seq:
            if last.seq == head.seq:
                return
            parts = watched.replay(last, head.seq) or await _deltas(viewer, last, head.seq)
            if parts is not None:
                await viewer.send(self._merge(viewer, [Frame.of(part) for part in parts]))
                viewer.last = head
                return
        viewer.last, data = await _snapshot(viewer)
        await viewer.send(data)

    def _merge(self, viewer: Viewer, frames: list[Frame]) -> bytes:
        """Contiguous frames as one, with only the keys asked for; viewers with the same wishes share the bytes."""
        if len(frames) == 1 and viewer.keys is None:
            return frames[0].data
        name = (viewer.run_id, frames[0].epoch, frames[0].first, frames[-1].last, viewer.keys)
        data = self._merged.get(name)
        if data is None:
            data = merge_frames([frame.data for frame in frames], viewer.keys)
            if len(self._merged) >= RING or self._merged_bytes + len(data) > MERGED_BYTES:
                self._merged.clear()
                self._merged_bytes = 0
            self._merged[name] = data
            self._merged_bytes += len(data)
        return data

    async def _read_bus(self) -> None:
        while True:
            try:
                client = aioredis.Redis.from_url(
                    settings.REDIS_URL, socket_timeout=None, socket_connect_timeout=2, health_check_interval=15
                )
                async with client, client.pubsub() as bus:
                    # A channel of our own keeps the subscription alive while no run is watched.
                    await bus.subscribe(f"{pubsub.PREFIX}hub", *(pubsub.run_channel(run_id) for run_id in self._runs))
                    self._pubsub = bus
                    async for message in bus.listen():
                        if message["type"] == "message":
                            self._receive(message["channel"].decode(), message["data"])
            except (RedisError, OSError) as error:
                log.warning("live.bus_away", error=str(error))
            self._pubsub = None
            await asyncio.sleep(1.0)

    def _receive(self, channel: str, data: bytes) -> None:
        watched = self._runs.get(channel.removeprefix(pubsub.PREFIX))
        if watched is not None:
            try:
                watched.receive(Frame.of(data))
            except (ValueError, KeyError) as error:
                log.warning("live.bad_frame", channel=channel, error=str(error))

    async def _listen(self, run_id: str) -> None:
        if self._pubsub is not None:
            try:
                await self._pubsub.subscribe(pubsub.run_channel(run_id))
            except (RedisError, OSError) as error:
                log.warning("live.subscribe_failed", run=run_id, error=str(error))

    async def _unlisten(self, run_id: str) -> None:
        if self._pubsub is not None and run_id not in self._runs:
            try:
                await self._pubsub.unsubscribe(pubsub.run_channel(run_id))
            except (RedisError, OSError) as error:
                log.warning("live.unsubscribe_failed", run=run_id, error=str(error))

    async def _poll(self) -> None:
        """Compare watched runs with the database every two seconds: repairs whatever the bus lost."""
        while True:
            await asyncio.sleep(POLL_S)
            for watched in list(self._runs.values()):
                viewer = next(iter(watched.viewers), None)
                if viewer is None:
                    continue
                try:
                    head = await _position(viewer)
                except (DatabaseError, InterfaceError, PoolTimeout) as error:
                    log.warning("live.poll_failed", run=watched.run_id, error=str(error))
                    continue
                watched.head = (
                    head if watched.head is None else max(watched.head, head, key=lambda at: (at.epoch, at.seq))
                )
                for behind in watched.viewers:
                    if (
                        behind.last is not None
                        and (behind.last.epoch, behind.last.seq) < (head.epoch, head.seq)
                        and not behind.pending
                    ):
                        behind.overflowed = True
                        behind.wake.set()


def merge_frames(parts: list[bytes], keys: frozenset[str] | None) -> bytes:
    """Several contiguous delta frames of one epoch as one frame."""
    headers: list[dict[str, Any]] = []
    columns: dict[str, list[Column]] = {}
    for part in parts:
        header, values = decode_frame(part)
        headers.append(header)
        at = 0
        for series in header["series"]:
            n = series["n"]
            block = values[at : at + 3 * n].reshape(3, n)
            at += 3 * n
            if keys is None or series["key"] in keys:
                columns.setdefault(series["key"], []).append(block)
    joined = {key: np.concatenate(blocks, axis=1) for key, blocks in columns.items()}
    progress = [header["progress"] for header in headers if header["progress"] is not None]
    header = {
        **headers[-1],
        "from": headers[0]["from"],
        "series": [{"key": key, "n": block.shape[1]} for key, block in joined.items()],
        "logs": [line for header in headers for line in header["logs"]],
        "progress": progress[-1] if progress else None,
    }
    return encode_frame(header, [column for block in joined.values() for column in block])


@database_sync_to_async
def _position(viewer: Viewer) -> Position:
    with tenant_tx(viewer.tenant_id):
        return position(viewer.run_id) or Position(0, 0)


@database_sync_to_async
def _deltas(viewer: Viewer, since: Position, until: int) -> list[bytes] | None:
    with tenant_tx(viewer.tenant_id):
        return deltas(viewer.run_id, since, until)


@database_sync_to_async
def _snapshot(viewer: Viewer) -> tuple[Position, bytes]:
    with tenant_tx(viewer.tenant_id):
        keys = None if viewer.keys is None else sorted(viewer.keys)
        return snapshot(viewer.run_id, keys=keys, max_points=viewer.max_points)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(loop)
    if found is None:
        found = _hubs[loop] = Hub()
    return found
