"""Sums over tokens in pieces, so that the logits of all tokens never exist at once.

Logits of B x T tokens over a vocabulary V dwarf everything else of a small model, and a distillation loss holds them
several times: teacher's, student's, both log-softmaxes and the gradients. Here a scan visits `chunk` tokens at a time
and the backward pass computes each piece again (one more matrix product with the embedding).
Cost: memory of chunk x V instead of B x T x V; time of one more unembedding of teacher and student.
Reduces to: the plain sums at chunk = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Sums = dict[str, Float[Array, ""]]


def token_sums(body: Callable[[Any], Sums], tokens: Any, *, chunk: int) -> Sums:
    """The sums that `body` returns for pieces of `tokens`, added up.

    tokens: a tree of arrays [tokens, ...]. body gets the same tree with [chunk, ...] leaves, the last piece filled up
    with zeros: a leaf that marks the valid tokens is 0 there, and body must multiply by it. chunk: 0 for one piece.
    Differentiable with respect to `tokens` and to what body closes over.
    """
    count = jax.tree.leaves(tokens)[0].shape[0]
    if chunk <= 0 or chunk >= count:
        return body(tokens)
    pieces = -(-count // chunk)

    def cut(x: Array) -> Array:
        filled = jnp.pad(x, [(0, pieces * chunk - count)] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(pieces, chunk, *x.shape[1:])

    cuts = jax.tree.map(cut, tokens)
    shapes = jax.eval_shape(body, jax.tree.map(lambda x: x[0], cuts))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def add(sums: Sums, piece: Any) -> tuple[Sums, None]:
        return jax.tree.map(jnp.add, sums, jax.checkpoint(body)(piece)), None

    sums, _ = jax.lax.scan(add, zeros, cuts)
    total: Sums = sums
    return total


def flatten_tokens(tree: Any) -> Any:
    """Leaves [batch, time, ...] as [batch * time, ...]."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
