"""RFD-SON in PyTorch: see `models_core.optim.rfd_son` for the rule and its source."""

from __future__ import annotations

import torch

from models_core.optim.rfd_son import CURVATURE, Options
from models_core.optim.torch._frequent_directions import absorb, empty, get_sketch, power_times, set_sketch
from models_core.optim.torch._twin import State, Twin, Update


class RFDSON(Twin):
    """Sketched online Newton, robust."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        set_sketch(state, "sketch", empty(gradient.numel(), options.rank, gradient))
        if options.variant == "deep":
            state["mean"] = torch.zeros_like(gradient)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        column, step = gradient.reshape(-1, 1), state["step"]
        if options.variant == "deep":
            state["mean"].mul_(options.beta1).add_(gradient, alpha=1 - options.beta1)
            row, target = (CURVATURE + 1 / step) ** 0.5 * column, state["mean"].reshape(-1, 1)
        elif options.lr > 0:
            row, target = (options.lr * step) ** -0.5 * column, column
        else:
            # The sketch would take in infinite rows.
            return Update(torch.zeros_like(gradient))
        sketch = absorb(get_sketch(state, "sketch"), row, 1.0, escape=0.5)
        set_sketch(state, "sketch", sketch)
        u = power_times(sketch, target, -1.0, options.delta)
        if options.variant == "deep":
            return Update(u)
        return Update(u, 1 / options.lr, decay="none")
