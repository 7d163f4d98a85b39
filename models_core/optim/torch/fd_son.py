"""FD-SON in PyTorch: see `models_core.optim.fd_son` for the rule and its source."""

from __future__ import annotations

import torch

from models_core.optim.fd_son import Options
from models_core.optim.torch._frequent_directions import absorb, empty, get_sketch, power_times, set_sketch
from models_core.optim.torch._twin import State, Twin, Update


class FDSON(Twin):
    """Sketched online Newton."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        set_sketch(state, "sketch", empty(gradient.numel(), options.rank, gradient))

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        if options.lr <= 0:
            # The sketch would take in infinite rows.
            return Update(torch.zeros_like(gradient))
        column = gradient.reshape(-1, 1)
        row = (options.lr * state["step"] ** 0.5) ** -0.5 * column
        sketch = absorb(get_sketch(state, "sketch"), row, 1.0, escape=0.0)
        set_sketch(state, "sketch", sketch)
        return Update(power_times(sketch, column, -1.0, options.delta), 1 / options.lr)
