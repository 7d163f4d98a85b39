"""Settings of the training loop, for JAX and PyTorch alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models_core.training.precision import PRECISIONS, Precision


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """clip: largest Euclidean norm of the gradient, None for no bound. ema_decay: in [0, 1), None for no average.

    on_non_finite: "stop" leaves the state broken for `check` to report; "skip" leaves out that update, and `check`
    reports more than `most_skips` in a row.
    """

    clip: float | None = None
    ema_decay: float | None = None
    precision: Precision = PRECISIONS["float32"]
    on_non_finite: Literal["stop", "skip"] = "stop"
    most_skips: int = 10
