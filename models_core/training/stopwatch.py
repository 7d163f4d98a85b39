"""Time spent training, without evaluation, checkpoints or compilation; kept over resumes."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds between `start` and `stop`, added up; `lap_s` is the part since the last lap."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._lap_started = seconds
        self._since: float | None = None

    def start(self) -> None:
        """Run; starting twice changes nothing."""
        if self._since is None:
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Pause. The caller has waited for the device before."""
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def lap_s(self) -> float:
        """Seconds since the last call, at least a microsecond so that a rate can be formed."""
        lap, self._lap_started = self.seconds - self._lap_started, self.seconds
        return max(lap, 1e-6)
