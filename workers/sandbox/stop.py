"""Ends a run in two steps: asks its group with SIGTERM, and after the grace time kills whatever is left."""

from __future__ import annotations

from workers.sandbox.spawn import Child


class Stopper:
    """For one child. Times are monotonic seconds."""

    def __init__(self, child: Child, grace_s: float) -> None:
        self._child = child
        self._grace_s = grace_s
        self._kill_at: float | None = None
        self._asked = False

    def ask(self, now: float) -> None:
        """Send SIGTERM and start the grace time. Only the first call counts."""
        if not self._asked:
            self._asked = True
            self._kill_at = now + self._grace_s
            self._child.terminate()

    def tick(self, now: float) -> bool:
        """To be called often. True once: when the grace time has run out and everything has been killed."""
        if self._kill_at is None or now < self._kill_at:
            return False
        self._kill_at = None
        self._child.kill()
        return True
