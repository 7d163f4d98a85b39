"""Shampoo in PyTorch: see `models_core.optim.shampoo` for the rule, its source and what deviates."""

from __future__ import annotations

import torch

from models_core.optim._blocks import cuts, merged
from models_core.optim.shampoo import Options, exponent_of
from models_core.optim.torch._dense_roots import along, gram, inverse_power, joined
from models_core.optim.torch._twin import State, Twin, Update


class Shampoo(Twin):
    """A full preconditioner for each axis."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        if options.beta1 > 0:
            state["mean"] = torch.zeros_like(gradient)
        if options.graft not in ("sgd", "none"):
            state["square"] = torch.zeros_like(gradient)
        for block, cut in enumerate(cuts(merged(tuple(gradient.shape), options.merge_dims), options.block_size)):
            for axis, part in enumerate(cut):
                d = part.stop - part.start
                state[f"factor{block}.{axis}"] = gradient.new_zeros(d, d)
                state[f"root{block}.{axis}"] = torch.eye(d, dtype=gradient.dtype, device=gradient.device)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        step, ahead = state["step"], gradient
        own, square_weight = 1 - options.beta2 or 1.0, 1.0
        if options.bias_correction and options.beta2 < 1:
            square_weight = 1 / (1 - options.beta2**step)
        before = options.momentum == "gradient"
        if options.beta1 > 0 and before:
            ahead = state["mean"].mul_(options.beta1).add_(gradient, alpha=1 - options.beta1)
            ahead = ahead / (1 - options.beta1**step)
        scaled = gradient
        if options.graft == "rmsprop_normalized":
            scaled = gradient / (torch.linalg.vector_norm(gradient) + 1e-16)
        if "square" in state:
            state["square"].mul_(options.beta2).addcmul_(scaled, scaled, value=own)
        shape = merged(tuple(gradient.shape), options.merge_dims)
        tensor, target = gradient.reshape(shape), ahead.reshape(shape)
        due = (step - 1) % options.update_every == 0 or step == options.start_step + 1
        parts = []
        for block, cut in enumerate(cuts(shape, options.block_size)):
            part = target[cut]
            for axis in range(len(shape)):
                factor = state[f"factor{block}.{axis}"]
                following = (factor * options.beta2).add_(gram(tensor[cut], axis), alpha=own)
                # A gradient that is not finite would stay in the factor for good.
                if bool(torch.isfinite(following).all()):
                    factor.copy_(following)
                if due and step > options.start_step:
                    root = inverse_power(
                        factor * square_weight, exponent_of(len(shape)), options.epsilon, options.epsilon_scale
                    )
                    if bool(torch.isfinite(root).all()):
                        state[f"root{block}.{axis}"] = root
                part = along(part, state[f"root{block}.{axis}"], axis)
            parts.append(part)
        u = joined(parts, shape, options.block_size).reshape(gradient.shape)
        q = ahead
        if options.graft == "adam":
            q = ahead / (state["square"] * square_weight).sqrt_().add_(options.graft_eps)
        elif "square" in state:
            q = scaled / state["square"].sqrt().add_(options.graft_eps)
        if step <= options.start_step:
            u = q
        elif options.graft != "none":
            length = torch.linalg.vector_norm(u)
            u = u * torch.where(length > 0, torch.linalg.vector_norm(q) / torch.where(length > 0, length, 1.0), 0.0)
        if options.beta1 > 0 and not before:
            averaged = options.momentum == "average"
            mean = state["mean"].mul_(options.beta1).add_(u, alpha=1 - options.beta1 if averaged else 1.0)
            u = mean if averaged else u + options.beta1 * mean
        return Update(u)
