"""Lion in PyTorch: see `models_core.optim.lion` for the rule and its source."""

from __future__ import annotations

import torch

from models_core.optim.lion import Options
from models_core.optim.torch._twin import State, Twin, Update


class Lion(Twin):
    """Lion."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["mean"] = torch.zeros_like(gradient)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        ahead = torch.lerp(state["mean"], gradient, 1 - options.beta1).sign_()
        state["mean"].lerp_(gradient, 1 - options.beta2)
        return Update(ahead)
