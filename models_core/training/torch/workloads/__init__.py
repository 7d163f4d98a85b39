"""The workloads in PyTorch: one file for each of `training.workloads`, of the same name.

A file holds `build(options, problem)`, where `problem` is the workload in JAX: its data and its fresh parameters are
those of the run in PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from models_core.training.workloads._options import WorkloadOptions

if TYPE_CHECKING:
    from models_core.training.torch.workloads._problem import TorchProblem
    from models_core.training.workloads._problem import Problem


def build(options: WorkloadOptions, problem: Problem) -> TorchProblem:
    """The workload that `training.workloads.build(options)` gave, in PyTorch."""
    module: Any = importlib.import_module(f"{__name__}.{options.task}")
    built: TorchProblem = module.build(options, problem)
    return built
