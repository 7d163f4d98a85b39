"""Adam with decoupled weight decay in PyTorch: see `models_core.optim.adam` for the rule and its source."""

from __future__ import annotations

from typing import ClassVar

import torch

from models_core.optim.adam import Options
from models_core.optim.torch._twin import State, Twin, Update


class Adam(Twin):
    """Adam with decoupled weight decay."""

    options_type: ClassVar[type[Options]] = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["mean"] = torch.zeros_like(gradient)
        state["square"] = torch.zeros_like(gradient)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        mean = state["mean"].lerp_(gradient, 1 - options.beta1)
        square = state["square"].mul_(options.beta2).addcmul_(gradient, gradient, value=1 - options.beta2)
        root = square.sqrt().mul_((1 - options.beta2 ** state["step"]) ** -0.5).add_(options.eps)
        return Update(torch.div(mean, root, out=root), 1 / (1 - options.beta1 ** state["step"]))
