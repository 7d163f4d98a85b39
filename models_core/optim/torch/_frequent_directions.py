"""Frequent directions in PyTorch: see `models_core.optim._frequent_directions` for the recursion and its source."""

from __future__ import annotations

from typing import NamedTuple

import torch

from models_core.optim._frequent_directions import TailDecay
from models_core.optim.torch._twin import State


class Sketch(NamedTuple):
    """basis (d, k) with orthonormal columns, roots (k) of its eigenvalues, escaped mass (a scalar)."""

    basis: torch.Tensor
    roots: torch.Tensor
    escaped: torch.Tensor


def get_sketch(state: State, name: str) -> Sketch:
    """The sketch that `set_sketch` put into an optimizer's state."""
    return Sketch(*(state[f"{name}.{part}"] for part in Sketch._fields))


def set_sketch(state: State, name: str, sketch: Sketch) -> None:
    """Keep a sketch as three tensors, which is what a state dict can hold."""
    state.update({f"{name}.{part}": value for part, value in sketch._asdict().items()})


def empty(size: int, rank: int, like: torch.Tensor) -> Sketch:
    """The sketch of nothing, in the dtype and on the device of `like`."""
    k = min(size, rank)
    return Sketch(torch.eye(size, k, dtype=like.dtype, device=like.device), like.new_zeros(k), like.new_zeros(()))


def absorb(
    sketch: Sketch, factor: torch.Tensor, beta2: float, tail_decay: TailDecay = "beta2", *, escape: float = 1.0
) -> Sketch:
    """The sketch after `factor` (d, m); one that is not finite is skipped."""
    k = sketch.roots.numel()
    stack = torch.cat([sketch.basis * (beta2**0.5 * sketch.roots)[None, :], factor], dim=1)
    if not bool(torch.isfinite(stack).all()):
        return sketch
    u, sig, _ = torch.linalg.svd(stack, full_matrices=False)
    sig = torch.where(sig > torch.finfo(sig.dtype).eps * max(stack.shape) * sig[0], sig, 0.0)
    cut = sig[k] if sig.numel() > k else sig.new_zeros(())
    kept = sig[:k]
    decay = beta2 if tail_decay == "beta2" else beta2**0.5
    return Sketch(
        u[:, :k].contiguous(), torch.sqrt((kept - cut) * (kept + cut)), decay * sketch.escaped + escape * cut * cut
    )


def power_times(
    sketch: Sketch, right: torch.Tensor, exponent: float, ridge: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """(basis diag(roots^2) basis^T + (escaped + ridge) I)^exponent right, for right (d, m); powers of 0 are 0."""

    def power(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, torch.where(x > 0, x, 1.0) ** exponent, 0.0)

    tail = power(sketch.escaped + ridge)
    heads = power(sketch.roots**2 + sketch.escaped + ridge)
    inside = sketch.basis.T @ right
    return sketch.basis @ (heads[:, None] * inside) + tail * (right - sketch.basis @ inside)


def roots_inverse_times(sketch: Sketch, right: torch.Tensor, delta: float) -> torch.Tensor:
    """(basis diag(roots + delta) basis^T + delta (I - basis basis^T))^-1 right, for right (d, m) and delta > 0."""
    inside = sketch.basis.T @ right
    return (right - sketch.basis @ ((sketch.roots / (sketch.roots + delta))[:, None] * inside)) / delta
