"""`training.workloads.classifier` in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models_core.data.image_sets import IMAGE_SETS
from models_core.nn.torch import image_models
from models_core.training.torch.workloads._problem import TorchProblem
from models_core.training.workloads._problem import Problem
from models_core.training.workloads.classifier import Options


def build(options: Options, problem: Problem) -> TorchProblem:
    """The problem; loss in nats an image, "accuracy" 1 where the likeliest class is the right one."""
    info = IMAGE_SETS[options.data]

    def values(module: Any, examples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = module(examples["x"].view(-1, *info.shape))
        right = (logits.argmax(dim=-1) == examples["y"]).float()
        return {"loss": F.cross_entropy(logits, examples["y"], reduction="none"), "accuracy": right}

    return TorchProblem(problem, partial(image_models.build, options.network, info.shape, info.classes), values)
