"""Online gradient descent in PyTorch: see `models_core.optim.ogd` for the rule and its source."""

from __future__ import annotations

import torch

from models_core.optim.ogd import Options
from models_core.optim.torch._twin import State, Twin, Update


class OGD(Twin):
    """Online gradient descent."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        """Nothing but the count of updates."""

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        return Update(gradient, (state["step"] + options.delta) ** -0.5)
