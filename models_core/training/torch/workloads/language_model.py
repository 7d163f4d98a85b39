"""`training.workloads.language_model` in PyTorch. Optimizers see the kernels that are joined there one by one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models_core.data import tokenizers
from models_core.nn.torch.decoder import Decoder
from models_core.training.torch.workloads._problem import TorchProblem
from models_core.training.workloads._problem import Problem
from models_core.training.workloads.language_model import Options


def build(options: Options, problem: Problem) -> TorchProblem:
    """The problem; loss in nats a token, the mean over the row."""

    def values(module: Any, examples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits, targets = module(examples["inputs"]).float(), examples["targets"]
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        return {"loss": losses.view(targets.shape).mean(dim=-1)}

    make = partial(Decoder, options.model, tokenizers.ByteTokenizer().vocabulary)
    return TorchProblem(problem, make, values, leaves=lambda module, value: module.leaves(value))  # type: ignore[operator]
