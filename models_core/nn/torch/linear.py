"""The product that every layer makes, by oneDNN on a processor: a sixth faster in float32 than F.linear's library.

PyTorch calls oneDNN's matrix product by itself in lower precisions and inside compiled code alone. Few rows, other
devices, other precisions and builds without the operation take F.linear.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Fewer rows are not worth arranging the kernel anew.
LEAST_ROWS = 64
_FOUND = bool(torch.backends.mkldnn.is_available()) and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_linear_pointwise"
)


def linear(x: Tensor, kernel: Tensor) -> Tensor:
    """x (..., in) times kernel (out, in), transposed: (..., out)."""
    if not (_FOUND and suits(x, kernel)):
        return F.linear(x, kernel)
    out: Tensor = _Product.apply(x.reshape(-1, x.shape[-1]), kernel)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], kernel.shape[0])


def suits(x: Tensor, kernel: Tensor) -> bool:
    """Whether `product` is for these."""
    return (
        x.numel() >= LEAST_ROWS * x.shape[-1]
        and x.device.type == "cpu"
        and x.dtype == kernel.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def product(rows: Tensor, kernel: Tensor) -> Tensor:
    """rows (R, in) times kernel (out, in) transposed, without a gradient."""
    if not (_FOUND and suits(rows, kernel)):
        return rows @ kernel.T
    out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, kernel, None, "none", [], "")
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(rows, kernel)
        return product(rows, kernel)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Any:
        rows, kernel = ctx.saved_tensors
        d_rows = linear(d_out, kernel.T) if ctx.needs_input_grad[0] else None
        return d_rows, d_out.T @ rows if ctx.needs_input_grad[1] else None
