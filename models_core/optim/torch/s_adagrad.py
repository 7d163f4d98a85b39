"""S-AdaGrad in PyTorch: see `models_core.optim.s_adagrad` for the rule and its source."""

from __future__ import annotations

import torch

from models_core.optim.s_adagrad import Options
from models_core.optim.torch._frequent_directions import absorb, empty, get_sketch, power_times, set_sketch
from models_core.optim.torch._twin import State, Twin, Update


class SAdaGrad(Twin):
    """S-AdaGrad."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        set_sketch(state, "sketch", empty(gradient.numel(), options.rank, gradient))

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        column = gradient.reshape(-1, 1)
        sketch = absorb(get_sketch(state, "sketch"), column, options.beta2)
        set_sketch(state, "sketch", sketch)
        return Update(power_times(sketch, column, -0.5, options.delta))
