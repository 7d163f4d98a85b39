"""S-Shampoo in PyTorch: see `models_core.optim.s_shampoo` for the rule, its source and what deviates."""

from __future__ import annotations

import torch

from models_core.optim._blocks import merged
from models_core.optim.s_shampoo import GRAFT_EPS, Options, sketched_blocks
from models_core.optim.torch._dense_roots import joined
from models_core.optim.torch._frequent_directions import absorb, empty, get_sketch, power_times, set_sketch
from models_core.optim.torch._twin import State, Twin, Update


class SShampoo(Twin):
    """Shampoo on sketched factors."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["square"] = torch.zeros_like(gradient)
        if options.momentum > 0:
            state["velocity"] = torch.zeros_like(gradient)
        for block, cut in enumerate(sketched_blocks(options, tuple(gradient.shape))):
            for axis, part in enumerate(cut):
                set_sketch(state, f"sketch{block}.{axis}", empty(part.stop - part.start, options.rank, gradient))

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        square = state["square"].mul_(options.beta2).addcmul_(gradient, gradient, value=1 - options.beta2)
        u = step_of_graft = gradient * (square + GRAFT_EPS).rsqrt()
        blocks = sketched_blocks(options, tuple(gradient.shape))
        if blocks:
            joint = merged(tuple(gradient.shape), options.merge_dims)
            tensor = gradient.reshape(joint)
            due = (state["step"] - 1) % options.update_every == 0
            parts = [self._block(options, tensor[cut], state, i, due) for i, cut in enumerate(blocks)]
            if state["step"] > options.start_step:
                u = joined(parts, joint, options.block_size).reshape(gradient.shape)
                if options.graft == "rmsprop":
                    own = torch.linalg.vector_norm(u)
                    length = torch.linalg.vector_norm(step_of_graft)
                    u = u * torch.where(own > 0, length / torch.where(own > 0, own, 1.0), 0.0)
        if options.momentum > 0:
            averaged = options.momentum_kind == "average"
            velocity = state["velocity"].mul_(options.momentum).add_(u, alpha=1 - options.momentum if averaged else 1.0)
            u = velocity if averaged else u + options.momentum * velocity
        return Update(u)

    @staticmethod
    def _block(options: Options, g: torch.Tensor, state: State, index: int, due: bool) -> torch.Tensor:
        """One block preconditioned; its sketches take it in first if that is due."""
        u = g
        for axis in range(g.ndim):
            name = f"sketch{index}.{axis}"
            sketch = get_sketch(state, name)
            if due:
                if options.ridge == "update":
                    raised = torch.sqrt(sketch.roots**2 + options.epsilon * sketch.roots[0] ** 2)
                    sketch = sketch._replace(roots=raised)
                unfolded = g.movedim(axis, 0).reshape(g.shape[axis], -1)
                sketch = absorb(sketch, unfolded, options.beta2, options.tail_decay)
                set_sketch(state, name, sketch)
            front = u.movedim(axis, 0)
            largest = sketch.roots[0] ** 2 + sketch.escaped
            ridge = options.epsilon * largest if options.ridge == "inversion" else 0.0
            turned = power_times(sketch, front.reshape(front.shape[0], -1), -0.5 / g.ndim, ridge)
            u = turned.reshape(front.shape).movedim(0, axis)
        return u
