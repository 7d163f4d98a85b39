"""RMSProp in PyTorch: see `models_core.optim.rmsprop` for the rule and its source."""

from __future__ import annotations

import torch

from models_core.optim.rmsprop import Options
from models_core.optim.torch._twin import State, Twin, Update


class RMSProp(Twin):
    """RMSProp."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["square"] = torch.zeros_like(gradient)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        square = state["square"].mul_(options.decay).addcmul_(gradient, gradient, value=1 - options.decay)
        return Update(gradient / square.sqrt().add_(options.eps))
