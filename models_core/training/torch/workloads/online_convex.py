"""`training.workloads.online_convex` in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models_core.training.torch.workloads._problem import TorchProblem
from models_core.training.workloads._problem import Problem
from models_core.training.workloads.online_convex import Options


def build(options: Options, problem: Problem) -> TorchProblem:
    """The problem; the parameters are one vector that starts at 0, whatever the seed."""
    size = problem.train["x"].shape[1]

    def values(module: Any, examples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = examples["x"] @ module["w"]
        return {"loss": torch.nn.functional.softplus(logits) - examples["y"] * logits}

    return TorchProblem(problem, lambda: torch.nn.ParameterDict({"w": torch.empty(size)}), values)
