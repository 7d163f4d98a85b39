"""Spare interpreters with the array libraries imported, so that a run starts in a moment. Each is used once."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from models_core.events import read_line
from workers.sandbox.spawn import Child, Nursery

log = logging.getLogger(__name__)

WARM = ("-m", "models_core", "warm", "--events-fd", "{events}")
# A fresh spare waits so long after one was taken: the run that took it is starting and needs the cores.
REPLACE_AFTER_S = 5.0
BACKOFF_CAP_S = 60.0
READY_BYTES = 64 * 1024


class Spares:
    """Keeps `count` of them. `maintain` belongs to the nursery's thread, `take` to any."""

    def __init__(self, nursery: Nursery, count: int, environment: Mapping[str, str], cwd: Path) -> None:
        self._nursery = nursery
        self._count = count
        self._environment = environment
        self._cwd = cwd
        self._lock = threading.Lock()
        self._warming: list[Child] = []
        self._ready: list[Child] = []
        self._failures = 0
        self._not_before = 0.0

    @property
    def ready(self) -> int:
        """How many could be taken now."""
        with self._lock:
            return len(self._ready)

    def take(self) -> Child | None:
        """A living, ready interpreter that has read nothing yet, or None."""
        with self._lock:
            while self._ready:
                child = self._ready.pop(0)
                self._not_before = time.monotonic() + REPLACE_AFTER_S
                if not child.has_exited():
                    return child
                self._bury(child)
        return None

    def maintain(self) -> None:
        """Notice those that have become ready or died, and start what is missing. Does not block."""
        with self._lock:
            for child in list(self._warming):
                if _is_ready(child):
                    self._warming.remove(child)
                    self._ready.append(child)
                    self._failures = 0
            for pool in (self._warming, self._ready):
                for child in [one for one in pool if one.has_exited()]:
                    pool.remove(child)
                    self._failures += 1
                    pause_s = min(BACKOFF_CAP_S, 2.0**self._failures)
                    self._not_before = time.monotonic() + pause_s
                    log.warning("a spare interpreter died; the next starts in %.0f s", pause_s)
                    self._bury(child)
            missing = self._count - len(self._ready) - len(self._warming)
            if missing > 0 and time.monotonic() >= self._not_before:
                try:
                    self._warming.append(self._nursery.start(WARM, self._environment, self._cwd))
                except OSError as error:
                    self._failures += 1
                    self._not_before = time.monotonic() + min(BACKOFF_CAP_S, 2.0**self._failures)
                    log.warning("a spare interpreter cannot be started: %s", error)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._count = 0
            for child in (*self._warming, *self._ready):
                self._bury(child)
            self._warming.clear()
            self._ready.clear()

    def _bury(self, child: Child) -> None:
        child.reap()
        child.close()
        self._nursery.forget(child)


def _is_ready(child: Child) -> bool:
    os.set_blocking(child.events, False)
    with contextlib.suppress(BlockingIOError, ValueError):
        line = os.read(child.events, READY_BYTES)
        return bool(line) and read_line(line.splitlines()[0])["type"] == "ready"
    return False
