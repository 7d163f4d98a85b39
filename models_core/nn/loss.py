"""Next-token loss that never holds all logits: slices of the text go through the output layer one after the other.

    L = sum_t v_t (logsumexp z_t - z_t[y_t]) / sum_t v_t ;  z = x E^T, soft-capped if asked
    dz = v (softmax z - onehot y) ;  dx = dz E ;  dE = sum dz^T x

The gradient is taken in the forward pass, while a slice's logits are there: three products a slice and no second
forward pass. Peak memory of the output layer falls from tokens x vocabulary to chunk x vocabulary. Normalised by valid
tokens, so that micro-batches weighted by their counts add up to one large batch.
Slices run along time, so that a batch that is cut over devices stays where it is. First and higher derivatives in
reverse mode, no forward mode; beyond the first the logits of all slices are kept.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models_core.errors import InputInvalid
from models_core.nn.attention import soft_cap
from models_core.nn.linear import over_rows

# Tokens whose logits exist at once.
CHUNK = 1024


def next_token_loss(
    x: Float[Array, "batch time d_model"],
    embedding: Float[Array, "vocabulary d_model"],
    targets: Int[Array, "batch time"],
    valid: Bool[Array, "batch time"] | None = None,
    *,
    chunk: int = CHUNK,
    logit_soft_cap: float | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean negative log-likelihood of `targets` in nats, and the number of valid tokens.

    x: `decoder.trunk` of the inputs. valid: targets that count, all when None; with none valid the loss is 0. chunk:
    tokens whose logits exist at once, at least 1 (and at least one of each row).
    """
    weight = jnp.ones(targets.shape, jnp.float32) if valid is None else valid.astype(jnp.float32)
    count = jnp.sum(weight)
    total = next_token_sum(x, embedding, targets, weight, chunk=chunk, logit_soft_cap=logit_soft_cap)
    return total / jnp.maximum(count, 1.0), count


def next_token_sum(
    x: Float[Array, "batch time d_model"],
    embedding: Float[Array, "vocabulary d_model"],
    targets: Int[Array, "batch time"],
    weight: Float[Array, "batch time"],
    *,
    chunk: int = CHUNK,
    logit_soft_cap: float | None = None,
) -> Float[Array, ""]:
    """Sum of the weighted negative log-likelihoods; weights get no gradient."""
    if chunk < 1:
        raise InputInvalid("The loss needs a chunk.", fields={"chunk": "At least 1."})
    batch, time = targets.shape
    # Slices of nearly the same length: filling up would cost products.
    slices = min(-(-batch * time // chunk), time)
    return _total(x, embedding, targets, jax.lax.stop_gradient(weight), slices, logit_soft_cap)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _total(x: Array, embedding: Array, targets: Array, weight: Array, slices: int, cap: float | None) -> Array:
    def add(total: Array, part: Any) -> tuple[Array, None]:
        rows, wanted, counts = part
        loss, _ = _losses(_logits(rows, embedding, cap)[0], wanted, counts)
        return total + loss, None

    total, _ = jax.lax.scan(add, jnp.zeros((), jnp.float32), _cut(slices, x, targets, weight))
    return total


def _forward(
    x: Array, embedding: Array, targets: Array, weight: Array, slices: int, cap: float | None
) -> tuple[Array, tuple[Array, Array]]:
    def add(carried: tuple[Array, Array], part: Any) -> tuple[tuple[Array, Array], Array]:
        (total, d_embedding), (rows, wanted, counts) = carried, part
        logits, bent = _logits(rows, embedding, cap)
        loss, log_z = _losses(logits, wanted, counts)
        right = jnp.arange(logits.shape[1], dtype=wanted.dtype)[None] == wanted[:, None]
        d_logits = (jnp.exp(logits - log_z[:, None]) - right.astype(jnp.float32)) * (counts[:, None] * bent)
        d_logits = d_logits.astype(rows.dtype)
        d_embedding = d_embedding + over_rows(rows, d_logits).astype(jnp.float32)
        return (total + loss, d_embedding), d_logits @ embedding

    # Wide while it is summed: see `nn.linear`.
    start = (jnp.zeros((), jnp.float32), jnp.zeros(embedding.shape[::-1], jnp.float32))
    (total, d_embedding), d_rows = jax.lax.scan(add, start, _cut(slices, x, targets, weight))
    batch, time, d = x.shape
    d_x = d_rows.reshape(d_rows.shape[0], batch, -1, d).transpose(1, 0, 2, 3).reshape(batch, -1, d)[:, :time]
    return total, (d_x, d_embedding.T.astype(embedding.dtype))


def _backward(slices: int, cap: float | None, kept: tuple[Array, Array], d_total: Array) -> tuple[Any, ...]:
    d_x, d_embedding = kept
    return d_x * d_total.astype(d_x.dtype), d_embedding * d_total.astype(d_embedding.dtype), None, None


_total.defvjp(_forward, _backward)


def _logits(
    rows: Float[Array, "rows d_model"], embedding: Float[Array, "vocabulary d_model"], cap: float | None
) -> tuple[Float[Array, "rows vocabulary"], Any]:
    """Logits in float32, and their derivative by what the product gave."""
    logits = (rows @ embedding.T).astype(jnp.float32)
    if cap is None:
        return logits, jnp.ones((1, 1), jnp.float32)
    bent = soft_cap(logits, cap)
    return bent, 1 - jnp.square(bent / cap)


def _losses(
    logits: Float[Array, "rows vocabulary"], wanted: Int[Array, " rows"], counts: Float[Array, " rows"]
) -> tuple[Float[Array, ""], Float[Array, " rows"]]:
    log_z = jax.nn.logsumexp(logits, axis=-1)
    right = jnp.take_along_axis(logits, wanted[:, None], axis=1)[:, 0]
    # A place that does not count may hold infinity.
    return jnp.sum(jnp.where(counts > 0, (log_z - right) * counts, 0.0)), log_z


def _cut(slices: int, *arrays: Array) -> tuple[Array, ...]:
    """Each (batch, time, ..) as (slices, batch * piece, ..), filled up with zeros."""

    def cut(array: Array) -> Array:
        batch, time = array.shape[:2]
        piece = -(-time // slices)
        filled = jnp.pad(array, [(0, 0), (0, slices * piece - time)] + [(0, 0)] * (array.ndim - 2))
        parts = filled.reshape(batch, slices, piece, *array.shape[2:])
        return jnp.moveaxis(parts, 1, 0).reshape(slices, batch * piece, *array.shape[2:])

    return tuple(cut(array) for array in arrays)
