"""How a step's time splits into the gradient and the optimizer's update.

A compiled step is one program, so the split is measured from outside, in every framework alike: the gradient alone, now
and then during the run; the update is what remains of a step. Under noise the remainder may be 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

REPEATS = 3


class GradientClock:
    """gradient(rows): computes the gradient of the batch with these rows, and waits for it."""

    def __init__(self, gradient: Callable[[Any], object]) -> None:
        self._gradient = gradient
        self._seconds: list[float] = []

    def split(self, step_s: float, rows: Any) -> dict[str, float]:
        """Time the gradient once more; step_s: mean seconds of a whole step. Returns the three metrics, in seconds.

        The caller has waited for the device before.
        """
        laps = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            self._gradient(rows)
            laps.append(time.perf_counter() - begun)
        # The best of a few: the first one after an evaluation meets a cold cache.
        self._seconds.append(min(laps))
        gradient_s = median(self._seconds)
        return {
            "perf/step_s": step_s,
            "perf/gradient_s": gradient_s,
            "perf/update_s": max(step_s - gradient_s, 0.0),
        }
