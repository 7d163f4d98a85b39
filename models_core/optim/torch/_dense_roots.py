"""Negative powers of a dense factor, and the blocks of a tensor put together again, in PyTorch."""

from __future__ import annotations

import torch

from models_core.optim._blocks import assembled
from models_core.optim._dense_roots import EpsilonScale


def inverse_power(factor: torch.Tensor, exponent: float, epsilon: float, scale: EpsilonScale) -> torch.Tensor:
    """(factor + e I)^exponent for a positive semidefinite factor (d, d) and exponent < 0; a power of 0 is 0."""
    values, vectors = torch.linalg.eigh(factor)
    values = values.clamp_(min=0)
    raised = values + (epsilon * values[-1] if scale == "relative" else epsilon)
    powers = torch.where(raised > 0, torch.where(raised > 0, raised, 1.0) ** exponent, 0.0)
    result: torch.Tensor = (vectors * powers) @ vectors.T
    return result


def gram(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """G G^T of the unfolding along `axis`."""
    unfolded = tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)
    return unfolded @ unfolded.T


def along(tensor: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """`matrix` (d, d) applied to every fibre along `axis`."""
    turned: torch.Tensor = torch.tensordot(matrix, tensor, dims=([1], [axis]))
    return turned.movedim(0, axis)


def joined(blocks: list[torch.Tensor], shape: tuple[int, ...], size: int) -> torch.Tensor:
    """The tensor whose blocks, in the order of `cuts`, these are."""
    for axis, count in reversed(list(enumerate(assembled(shape, size)))):
        blocks = [
            torch.cat(blocks[i : i + count], axis) if count > 1 else blocks[i] for i in range(0, len(blocks), count)
        ]
    return blocks[0]
