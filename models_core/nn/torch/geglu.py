"""PyTorch twin of `nn.geglu`: both gradients are written into one array, which the joined kernel's product reads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def geglu(gate_up: Tensor) -> Tensor:
    """gelu(gate) up of (..., 2 F), gate before up; first and higher derivatives."""
    out: Tensor = _Geglu.apply(gate_up)  # type: ignore[no-untyped-call]
    return out


class _Geglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        active = F.gelu(gate, approximate="tanh")
        ctx.save_for_backward(gate_up, active)
        return active * up

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Tensor:
        gate_up, active = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        if torch.is_grad_enabled():
            # A graph of the gradient is wanted: `active` has none, nor what is written in place.
            d_gate = torch.ops.aten.gelu_backward(d_out * up, gate, approximate="tanh")
            return torch.cat([d_gate, d_out * F.gelu(gate, approximate="tanh")], dim=-1)
        d_gate_up = torch.empty_like(gate_up)
        d_gate, d_up = d_gate_up.chunk(2, dim=-1)
        torch.mul(d_out, active, out=d_up)
        torch.ops.aten.gelu_backward.grad_input(d_out * up, gate, approximate="tanh", grad_input=d_gate)
        return d_gate_up
