"""Settings of the training loop, for JAX and PyTorch alike."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
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


@cache
def torch_optimizers() -> tuple[str, ...]:
    """Names of the optimizers that a PyTorch run can have, found without loading PyTorch."""
    found = find_spec("models_core.optim.torch")
    names = pkgutil.iter_modules(found.submodule_search_locations if found else None)
    return tuple(sorted(info.name for info in names if not info.name.startswith("_")))
