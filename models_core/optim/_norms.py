"""Norms of whole tensors that read memory once.

XLA's CPU compiler stores every operand of a reduction in memory first; a loop over pieces that stay in the cache does
not: for grafting this is the difference between three passes over memory and one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax import Array

# Entries taken at once: small against the first-level cache, large against the cost of a loop's turn.
_PIECE = 4096


def norm_of(function: Callable[..., Array], *tensors: Array) -> Array:
    """The Euclidean norm of `function(*tensors)`, which acts entry by entry; the tensors have one shape and dtype.

    >>> import jax.numpy as jnp
    >>> float(norm_of(lambda x, y: x + y, jnp.array([1.0, 2.0]), jnp.array([2.0, 2.0])))
    5.0
    """
    import jax
    import jax.numpy as jnp

    flat = [tensor.reshape(-1) for tensor in tensors]
    whole, size = flat[0].size // _PIECE, flat[0].size

    def squares(start: int | Array, length: int) -> Array:
        value = function(*(jax.lax.dynamic_slice_in_dim(x, start, length) for x in flat))
        return value * value

    total = jnp.sum(squares(whole * _PIECE, size - whole * _PIECE))
    if whole > 0:
        zeros = jnp.zeros(_PIECE, total.dtype)
        total += jnp.sum(jax.lax.fori_loop(0, whole, lambda i, acc: acc + squares(i * _PIECE, _PIECE), zeros))
    return jnp.sqrt(total)
