"""`training.workloads.autoencoder` in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from models_core.nn.torch import autoencoder
from models_core.training.torch.workloads._problem import TorchProblem
from models_core.training.workloads._problem import Problem
from models_core.training.workloads.autoencoder import Options


def build(options: Options, problem: Problem) -> TorchProblem:
    """The problem; loss in nats an image."""

    def values(module: Any, examples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        x = examples["x"]
        return {"loss": autoencoder.reconstruction_loss(module(x), x)}

    pixels = problem.train["x"].shape[1]
    return TorchProblem(problem, partial(autoencoder.build, pixels, width=options.width, code=options.code), values)
