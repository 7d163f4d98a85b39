"""Stochastic gradient descent with momentum in PyTorch: see `models_core.optim.sgd` for the rule and its source."""

from __future__ import annotations

from typing import ClassVar

import torch

from models_core.optim.sgd import Options
from models_core.optim.torch._twin import State, Twin, Update


class SGD(Twin):
    """Stochastic gradient descent with momentum."""

    options_type: ClassVar[type[Options]] = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        if options.momentum > 0:
            state["velocity"] = torch.zeros_like(gradient)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        if options.momentum == 0:
            return Update(gradient)
        velocity = state["velocity"].mul_(options.momentum).add_(gradient)
        return Update(gradient.add(velocity, alpha=options.momentum) if options.nesterov else velocity)
