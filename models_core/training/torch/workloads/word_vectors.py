"""`training.workloads.word_vectors` in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models_core.training.torch.workloads._problem import TorchProblem
from models_core.training.workloads._problem import Problem
from models_core.training.workloads.word_vectors import Options, losses


def build(options: Options, problem: Problem) -> TorchProblem:
    """The problem; an example is a pair of words, its loss the weighted squared error of a logarithm."""

    def make() -> nn.Module:
        sides = ("word", "context")
        shapes = {"vectors": (options.words, options.size), "bias": (options.words,)}
        return nn.ModuleDict(
            {side: nn.ParameterDict({name: torch.empty(shape) for name, shape in shapes.items()}) for side in sides}
        )

    def values(module: Any, pairs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": losses(module, pairs, _rows)}

    return TorchProblem(problem, make, values)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table, by the look-up whose gradient is summed in one order, as that of plain indexing is not."""
    found = nn.functional.embedding(index, table.view(len(table), -1))
    return found.view(len(index), *table.shape[1:])
