"""Weights rounded to few bits while training, in PyTorch: see `models_core.distill.quantise` for formats and sources.

Parameters of the PyTorch decoder are (out, in), several kernels above each other: a channel is a row. The embedding is
(vocabulary, width) in both frameworks, and as the output layer has a channel for each id, which is a row as well.
"""

from __future__ import annotations

import torch

from models_core.distill.plan import Format

BLOCK = 32
_LARGEST_E4M3 = 448.0


def rounded(weights: torch.Tensor, kind: Format) -> torch.Tensor:
    """The nearest weights of the format for (outputs, inputs); the gradient is that of the identity."""
    held = weights.detach().float()
    if kind == "float8":
        scale = held.abs().amax(dim=1, keepdim=True) / _LARGEST_E4M3
        scale = torch.where(scale > 0, scale, 1.0)
        values = (held / scale).to(torch.float8_e4m3fn).float() * scale
    else:
        values = _int4(held, BLOCK if kind == "int4_block" else 0)
    return weights + (values.to(weights.dtype) - weights.detach())


def _int4(weights: torch.Tensor, block: int) -> torch.Tensor:
    outputs, inputs = weights.shape
    size = block or inputs
    filled = torch.nn.functional.pad(weights, (0, -inputs % size)).reshape(outputs, -1, size)
    step = filled.abs().amax(dim=2, keepdim=True) / 7
    codes = (filled / torch.where(step > 0, step, 1.0)).round().clamp(-7, 7)
    return (codes * step).reshape(outputs, -1)[:, :inputs]


def rounded_parameters(model: torch.nn.Module, kind: Format) -> dict[str, torch.Tensor]:
    """Every parameter by name, matrices rounded; norms and routers stay. Experts are (expert, inputs, outputs)."""

    def held(name: str, parameter: torch.Tensor) -> torch.Tensor:
        if parameter.ndim == 3:
            return torch.stack([rounded(expert.T, kind).T for expert in parameter])
        return rounded(parameter, kind) if parameter.ndim == 2 and not name.endswith("router") else parameter

    return {name: held(name, parameter) for name, parameter in model.named_parameters()}
