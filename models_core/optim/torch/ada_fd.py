"""Ada-FD in PyTorch: see `models_core.optim.ada_fd` for the rule and its source."""

from __future__ import annotations

import torch

from models_core.optim.ada_fd import Options
from models_core.optim.torch._frequent_directions import absorb, empty, get_sketch, roots_inverse_times, set_sketch
from models_core.optim.torch._twin import State, Twin, Update


class AdaFD(Twin):
    """AdaGrad on a sketch with a fixed diagonal."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        set_sketch(state, "sketch", empty(gradient.numel(), options.rank, gradient))

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        column = gradient.reshape(-1, 1)
        sketch = absorb(get_sketch(state, "sketch"), column, 1.0, escape=0.0)
        set_sketch(state, "sketch", sketch)
        return Update(roots_inverse_times(sketch, column, options.delta))
