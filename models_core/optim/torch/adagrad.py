"""AdaGrad, diagonal in PyTorch: see `models_core.optim.adagrad` for the rule and its source."""

from __future__ import annotations

import torch

from models_core.optim.adagrad import Options
from models_core.optim.torch._twin import State, Twin, Update


class AdaGrad(Twin):
    """AdaGrad, diagonal."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["total"] = torch.full_like(gradient, options.delta)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        total = state["total"].addcmul_(gradient, gradient)
        return Update((gradient * total.rsqrt()).masked_fill_(total == 0, 0.0))
