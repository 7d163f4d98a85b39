"""Measures what a run uses while it lives: processor, memory, accelerators. Keys begin with `system/`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from workers import devices
from workers.sandbox.processes import Usage, usage_of
from workers.sandbox.spawn import Child

log = logging.getLogger(__name__)

PERIOD_S = 5.0
# The first measurement comes early: a short run has one, too.
FIRST_S = 1.0


class Monitor:
    """A thread that measures one child every `period_s` seconds; the step is the whole seconds since it began.

    held: the (kind, index) pairs of the attempt's devices. report: takes step and values.
    """

    def __init__(
        self,
        child: Child,
        held: Sequence[tuple[str, int]],
        report: Callable[[int, dict[str, float]], None],
        *,
        period_s: float = PERIOD_S,
    ) -> None:
        self._child = child
        self._held = held
        self._report = report
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"monitor-{child.pid}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns at once; a measurement under way is still reported."""
        self._stop.set()

    def _run(self) -> None:
        began = measured = time.monotonic()
        before = usage_of(self._child.pid, self._child.tag)
        pause_s = min(FIRST_S, self._period_s)
        while not self._stop.wait(pause_s):
            pause_s = self._period_s
            now = time.monotonic()
            after = usage_of(self._child.pid, self._child.tag)
            if after:
                values = process_values(before, after, now - measured)
                values.update(devices.measure(self._held))
                self._report(int(now - began), values)
            before, measured = after, now


def process_values(before: dict[int, Usage], after: dict[int, Usage], elapsed_s: float) -> dict[str, float]:
    """Per cent of one core, summed over processes, and resident bytes. A process that is new counts from zero."""
    used_s = sum(max(0.0, now.cpu_s - (before[pid].cpu_s if pid in before else 0.0)) for pid, now in after.items())
    return {
        "system/cpu_percent": 100.0 * used_s / max(elapsed_s, 1e-3),
        "system/memory_bytes": float(sum(now.memory_bytes for now in after.values())),
    }
