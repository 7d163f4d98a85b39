"""S-Shampoo in PyTorch: see `models_core.optim.s_shampoo` for the rule, its source and what deviates."""

from __future__ import annotations

import torch

from models_core.optim.s_shampoo import GRAFT_EPS, Options, axes_of
from models_core.optim.torch._frequent_directions import absorb, empty, get_sketch, power_times, set_sketch
from models_core.optim.torch._twin import State, Twin, Update


class SShampoo(Twin):
    """Shampoo on sketched factors."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["square"] = torch.zeros_like(gradient)
        if options.momentum > 0:
            state["velocity"] = torch.zeros_like(gradient)
        axes = axes_of(gradient.shape)
        if max(axes) <= options.max_axis:
            for axis, d in enumerate(axes):
                set_sketch(state, f"axis{axis}", empty(d, options.rank, gradient))

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        square = state["square"].mul_(options.beta2).addcmul_(gradient, gradient, value=1 - options.beta2)
        axes = axes_of(gradient.shape)
        step_of_graft = gradient * (square + GRAFT_EPS).rsqrt()
        if max(axes) > options.max_axis:
            u = step_of_graft
        else:
            g = gradient.reshape(axes)
            if (state["step"] - 1) % options.update_every == 0:
                self._absorb(options, g, state)
            u = self._preconditioned(options, g, state).reshape(gradient.shape)
            if options.graft == "rmsprop":
                own = torch.linalg.vector_norm(u)
                length = torch.linalg.vector_norm(step_of_graft)
                u = u * torch.where(own > 0, length / torch.where(own > 0, own, 1.0), 0.0)
        if options.momentum > 0:
            velocity = state["velocity"].mul_(options.momentum).add_(u)
            u = u + options.momentum * velocity
        return Update(u)

    @staticmethod
    def _absorb(options: Options, g: torch.Tensor, state: State) -> None:
        for axis in range(g.ndim):
            sketch = get_sketch(state, f"axis{axis}")
            if options.ridge == "update":
                raised = torch.sqrt(sketch.roots**2 + options.epsilon * sketch.roots[0] ** 2)
                sketch = sketch._replace(roots=raised)
            unfolded = g.movedim(axis, 0).reshape(g.shape[axis], -1)
            set_sketch(state, f"axis{axis}", absorb(sketch, unfolded, options.beta2, options.tail_decay))

    @staticmethod
    def _preconditioned(options: Options, g: torch.Tensor, state: State) -> torch.Tensor:
        for axis in range(g.ndim):
            sketch = get_sketch(state, f"axis{axis}")
            front = g.movedim(axis, 0)
            largest = sketch.roots[0] ** 2 + sketch.escaped
            ridge = options.epsilon * largest if options.ridge == "inversion" else 0.0
            turned = power_times(sketch, front.reshape(front.shape[0], -1), -0.5 / g.ndim, ridge)
            g = turned.reshape(front.shape).movedim(0, axis)
        return g
