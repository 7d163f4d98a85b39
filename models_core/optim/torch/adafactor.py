"""Adafactor in PyTorch: see `models_core.optim.adafactor` for the rule, its source and what deviates."""

from __future__ import annotations

import torch

from models_core.optim.adafactor import SCALE_FLOOR, Options
from models_core.optim.torch._twin import State, Twin, Update


class Adafactor(Twin):
    """Second moments from rows and columns."""

    options_type = Options

    def begin(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> None:
        axes = _factored(options, gradient)
        if axes is None:
            state["square"] = torch.zeros_like(gradient)
        else:
            state["rows"] = torch.zeros_like(gradient.select(axes[1], 0))
            state["columns"] = torch.zeros_like(gradient.select(axes[0], 0))
        if options.beta1 > 0:
            state["mean"] = torch.zeros_like(gradient)

    def direction(self, options: Options, gradient: torch.Tensor, state: State, parameter: torch.Tensor) -> Update:
        share = state["step"] ** -options.decay
        squared, axes = gradient * gradient + options.eps, _factored(options, gradient)
        if axes is None:
            u = gradient * state["square"].mul_(1 - share).add_(squared, alpha=share).rsqrt()
        else:
            shorter, longer = axes
            rows = state["rows"].mul_(1 - share).add_(squared.mean(longer), alpha=share)
            columns = state["columns"].mul_(1 - share).add_(squared.mean(shorter), alpha=share)
            mean = rows.mean(shorter - 1 if shorter > longer else shorter, keepdim=True)
            u = gradient * (rows / mean).rsqrt().unsqueeze(longer) * columns.rsqrt().unsqueeze(shorter)
        u = u / (_rms(u) / options.clip).clamp(min=1.0)
        if options.relative:
            u = u * _rms(parameter.to(u.dtype)).clamp(min=SCALE_FLOOR)
        if options.beta1 > 0:
            u = state["mean"].mul_(options.beta1).add_(u, alpha=1 - options.beta1)
        return Update(u)


def _rms(x: torch.Tensor) -> torch.Tensor:
    return (x * x).mean().sqrt()


def _factored(options: Options, x: torch.Tensor) -> tuple[int, int] | None:
    """The second longest and the longest axis, the later one of equals counting as longer; None if too short."""
    if x.ndim < 2:
        return None
    order = sorted(range(x.ndim), key=lambda axis: x.shape[axis])
    return (order[-2], order[-1]) if x.shape[order[-2]] >= options.min_factored else None
