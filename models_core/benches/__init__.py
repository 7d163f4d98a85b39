"""What the distillation recipes ask of a framework: the same methods over `jax` and over `torch`.

Above `training` and `distill`, which do not know each other, and below the recipes, which do not either.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal

Framework = Literal["jax", "torch"]


def bench(framework: Framework, seed: int, cache_dir: str | None) -> tuple[Any, str]:
    """The bench of a run, and a line about the device that it is on; seed: of the run."""
    place = "models_core.training" + (".torch" if framework == "torch" else "")
    described: str = importlib.import_module(f"{place}.backend").prepare(cache_dir)
    return importlib.import_module(f"{__name__}.{framework}").Bench(seed), described
