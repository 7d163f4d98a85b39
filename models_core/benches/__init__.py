"""What recipes ask of a framework: the same methods over `jax` and over `torch`.

Here for decoders, in `plain` for image classifiers and tables, in `learners` for optimizers on workloads.

Above `training` and `distill`, which do not know each other, and below the recipes, which do not either.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from models_core.training.workloads._options import WorkloadOptions
    from models_core.training.workloads._problem import Problem

Framework = Literal["jax", "torch"]


def bench(framework: Framework, seed: int, cache_dir: str | None) -> tuple[Any, str]:
    """The bench of a run with decoders, and a line about the device that it is on; seed: of the run."""
    return _of(__name__, framework, seed, cache_dir)


def plain_bench(framework: Framework, seed: int, cache_dir: str | None) -> tuple[Any, str]:
    """The bench of a run with other models, see `benches.plain`, and a line about the device; seed: of the run."""
    return _of(f"{__name__}.plain", framework, seed, cache_dir)


def prepare(framework: Framework, cache_dir: str | None) -> str:
    """Start the framework, and describe the device that it is on."""
    place = "models_core.training" + (".torch" if framework == "torch" else "")
    described: str = importlib.import_module(f"{place}.backend").prepare(cache_dir)
    return described


def learner(framework: Framework, options: WorkloadOptions, problem: Problem, batch_size: int) -> Any:
    """What trains on a workload, see `benches.learners`; problem: the workload that the options gave."""
    return importlib.import_module(f"{__name__}.learners.{framework}").Learner(options, problem, batch_size)


def _of(package: str, framework: Framework, seed: int, cache_dir: str | None) -> tuple[Any, str]:
    described = prepare(framework, cache_dir)
    return importlib.import_module(f"{package}.{framework}").Bench(seed), described
