"""Muon in PyTorch: see `models_core.optim.muon` for the rule, its source and what deviates.

Names, by which `adam_for` chooses, are known when the optimizer is given `model.named_parameters()`; without them put
heads and embeddings into a parameter group with matrices="adam".
"""

from __future__ import annotations

import torch

from models_core.optim.muon import COEFFICIENTS, NORM_EPS, Options, is_matrix, scale_of
from models_core.optim.torch._twin import State, Twin, Update


class Muon(Twin):
    """Momentum, orthogonalised."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        state["mean"] = torch.zeros_like(gradient)
        if not is_matrix(options, self.name_of(parameter), tuple(gradient.shape)):
            state["square"] = torch.zeros_like(gradient)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        if "square" not in state:
            mean = state["mean"].mul_(options.momentum).add_(gradient, alpha=1 - options.momentum)
            ahead = gradient * (1 - options.momentum) + options.momentum * mean if options.nesterov else mean
            first = options.outputs != "last"
            rows = ahead.reshape(len(ahead), -1) if first else ahead.reshape(-1, ahead.shape[-1]).T
            u = orthogonalised(rows, options.iterations, options.precision)
            u = u * scale_of(options, rows.shape[1], len(rows))
            u, share = (u if first else u.T).reshape(gradient.shape), 1.0
        else:
            mean = state["mean"].mul_(options.beta1).add_(gradient, alpha=1 - options.beta1)
            square = state["square"].mul_(options.beta2).addcmul_(gradient, gradient, value=1 - options.beta2)
            root = (square / (1 - options.beta2 ** state["step"])).sqrt_().add_(options.eps)
            u, share = mean / (1 - options.beta1 ** state["step"]) / root, options.adam_scale
        if options.weight_decay:
            u = u.add(parameter.to(u.dtype), alpha=options.weight_decay)
        return Update(u, share, decay="none")


def orthogonalised(x: torch.Tensor, iterations: int, precision: str = "statistics") -> torch.Tensor:
    """A matrix (f, n) with the singular vectors of `x` and singular values near one."""
    dtype = x.dtype
    if precision == "bfloat16":
        x = x.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (torch.linalg.matrix_norm(x) + NORM_EPS)
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x.T if tall else x).to(dtype)
