"""`training.schedules` as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Decay = Literal["none", "linear", "cosine"]


def warmup_then_decay(peak: float, *, steps: int, warmup_steps: int, decay: Decay) -> Callable[[int], float]:
    """The learning rate of update number t, counted from 0: see `training.schedules.warmup_then_decay`."""

    def schedule(done: int) -> float:
        rise = min((done + 1) / (warmup_steps + 1), 1.0)
        progress = min(max((done - warmup_steps) / max(steps - warmup_steps, 1), 0.0), 1.0)
        fall = {"none": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}[decay]
        return peak * rise * fall

    return schedule
