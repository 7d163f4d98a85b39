"""How a step's time splits into the gradient and the optimizer's update.

The two are compiled into one program, so the split is measured from outside: the gradient alone, in a program of its
own, now and then during the run; the update is what remains of a step. Under noise the remainder may be 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax

REPEATS = 3


class GradientClock:
    """Compiles the gradient of `loss_fn(params, *batch)` for the shapes given."""

    def __init__(self, loss_fn: Callable[..., Any], params: Any, *batch: Any) -> None:
        self._gradient = jax.jit(jax.value_and_grad(loss_fn)).lower(params, *batch).compile()
        self._seconds: list[float] = []

    def split(self, step_s: float, params: Any, *batch: Any) -> dict[str, float]:
        """Time the gradient once more; step_s: mean seconds of a whole step. Returns the three metrics, in seconds."""
        jax.block_until_ready(params)  # type: ignore[no-untyped-call]
        laps = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            jax.block_until_ready(self._gradient(params, *batch))  # type: ignore[no-untyped-call]
            laps.append(time.perf_counter() - begun)
        # The best of a few: the first one after an evaluation meets a cold cache.
        self._seconds.append(min(laps))
        gradient_s = median(self._seconds)
        return {
            "perf/step_s": step_s,
            "perf/gradient_s": gradient_s,
            "perf/update_s": max(step_s - gradient_s, 0.0),
        }
