"""Negative powers of a dense factor, and the blocks of a tensor put together again, in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.optim._blocks import assembled

if TYPE_CHECKING:
    from jax import Array

EpsilonScale = Literal["absolute", "relative"]


def inverse_power(factor: Array, exponent: float, epsilon: float, scale: EpsilonScale) -> Array:
    """(factor + e I)^exponent for a positive semidefinite factor (d, d) and exponent < 0; a power of 0 is 0.

    e: epsilon, times the largest eigenvalue if relative. Eigenvalues that rounding made negative count as zero.
    """
    import jax.numpy as jnp

    values, vectors = jnp.linalg.eigh(factor)
    values = jnp.maximum(values, 0)
    ridge = epsilon * values[-1] if scale == "relative" else epsilon
    raised = values + ridge
    powers = jnp.where(raised > 0, jnp.where(raised > 0, raised, 1) ** exponent, 0)
    result: Array = (vectors * powers[None, :]) @ vectors.T
    return result


def gram(tensor: Array, axis: int) -> Array:
    """G G^T of the unfolding along `axis`."""
    import jax.numpy as jnp

    unfolded = jnp.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)
    return unfolded @ unfolded.T


def along(tensor: Array, matrix: Array, axis: int) -> Array:
    """`matrix` (d, d) applied to every fibre along `axis`."""
    import jax.numpy as jnp

    return jnp.moveaxis(jnp.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)


def joined(blocks: list[Array], shape: tuple[int, ...], size: int) -> Array:
    """The tensor whose blocks, in the order of `cuts`, these are."""
    import jax.numpy as jnp

    for axis, count in reversed(list(enumerate(assembled(shape, size)))):
        blocks = [
            jnp.concatenate(blocks[i : i + count], axis) if count > 1 else blocks[i]
            for i in range(0, len(blocks), count)
        ]
    return blocks[0]
