"""Next-token loss that never holds all logits: tokens go through the output layer in chunks, forward and backward.

Peak memory of the output layer falls from tokens x vocabulary to chunk x vocabulary; each chunk's logits are computed
again in the backward pass. Normalised by valid tokens, so that micro-batches weighted by their counts add up to one
large batch.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models_core.errors import InputInvalid
from models_core.nn.attention import soft_cap


def next_token_loss(
    x: Float[Array, "batch time d_model"],
    embedding: Float[Array, "vocabulary d_model"],
    targets: Int[Array, "batch time"],
    valid: Bool[Array, "batch time"] | None = None,
    *,
    chunk: int = 1024,
    logit_soft_cap: float | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean negative log-likelihood of `targets` in nats, and the number of valid tokens.

    x: `decoder.trunk` of the inputs. valid: targets that count, all when None; with none valid the loss is 0. chunk:
    tokens whose logits exist at once, at least 1.
    """
    if chunk < 1:
        raise InputInvalid("The loss needs a chunk.", fields={"chunk": "At least 1."})
    tokens, d = targets.size, x.shape[-1]
    chunk = min(chunk, tokens)
    short = -tokens % chunk
    rows = jnp.pad(x.reshape(tokens, d), ((0, short), (0, 0))).reshape(-1, chunk, d)
    wanted = jnp.pad(targets.reshape(tokens), (0, short)).reshape(-1, chunk)
    counted = jnp.ones(tokens, bool) if valid is None else valid.reshape(tokens)
    counted = jnp.pad(counted, (0, short)).reshape(-1, chunk)

    def part(rows: Array, wanted: Array, counted: Array) -> Array:
        logits = (rows @ embedding.T).astype(jnp.float32)
        if logit_soft_cap is not None:
            logits = soft_cap(logits, logit_soft_cap)
        right = jnp.take_along_axis(logits, wanted[:, None], axis=1)[:, 0]
        return jnp.sum(jnp.where(counted, jax.nn.logsumexp(logits, axis=-1) - right, 0.0))

    count = jnp.sum(counted.astype(jnp.float32))
    if rows.shape[0] == 1:
        return part(rows[0], wanted[0], counted[0]) / jnp.maximum(count, 1.0), count
    again = jax.checkpoint(part)

    def add(total: Array, piece: Any) -> tuple[Array, None]:
        return total + again(*piece), None

    total, _ = jax.lax.scan(add, jnp.zeros((), jnp.float32), (rows, wanted, counted))
    return total / jnp.maximum(count, 1.0), count
