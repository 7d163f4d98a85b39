"""What queries read from keys and values: a mean of the values, weighted by a masked softmax, and its gradient.

    s = q k^T, soft-capped if asked ;  p = softmax(s where seen) ;  o = p v
    dv = p^T do ;  ds = p (do v^T - rowsum(do o)) ;  dq = ds k ;  dk = ds^T q

Source: Dao et al., "FlashAttention", 2022 (arXiv 2205.14135), equations of appendix B: the row sum of p dp is that of
do o, which is smaller. All scores exist at once here. The softmax is in float32; it divides behind the product, so
that the scores are passed over once less. First and higher derivatives in reverse mode; no forward mode.
Shapes: P independent problems (batch x key heads), M queries of each, S keys, H head_dim.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

_FLOOR = np.finfo(np.float32).min


def soft_cap(x: Float[Array, "*shape"], bound: float) -> Float[Array, "*shape"]:
    """bound tanh(x / bound): the identity near 0, never past the bound."""
    return jnp.tanh(x / bound) * bound


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def weighted_mean(
    q_PMH: Float[Array, "problems queries head_dim"],
    k_PSH: Float[Array, "problems source head_dim"],
    v_PSH: Float[Array, "problems source head_dim"],
    seen_PMS: Bool[Array, "problems queries source"],
    cap: float | None,
) -> Float[Array, "problems queries head_dim"]:
    """o. seen: keys that a query may look at; with none it reads the mean of all. cap: bound of the scores."""
    return _forward(q_PMH, k_PSH, v_PSH, seen_PMS, cap)[0]


def _forward(q: Array, k: Array, v: Array, seen: Array, cap: float | None) -> tuple[Array, tuple[Array, ...]]:
    scores = _product(q, k, 2, 2).astype(jnp.float32)
    if cap is not None:
        scores = soft_cap(scores, cap)
    scores = jnp.where(seen, scores, _FLOOR)
    powers = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True)))
    share = 1 / jnp.sum(powers, axis=-1, keepdims=True)
    out = _product(powers.astype(v.dtype), v, 2, 1).astype(jnp.float32) * share
    out = out.astype(v.dtype)
    # Scores are kept only where the slope of the cap needs them.
    return out, (q, k, v, seen, powers, share, out, *(() if cap is None else (scores,)))


def _backward(cap: float | None, kept: tuple[Array, ...], d_out: Array) -> tuple[Any, ...]:
    q, k, v, seen, powers, share, out, *scores = kept
    d_share = d_out.astype(jnp.float32) * share
    level = jnp.sum(d_share * out.astype(jnp.float32), axis=-1, keepdims=True)
    d_scores = powers * (_product(d_share.astype(v.dtype), v, 2, 2).astype(jnp.float32) - level)
    if cap is not None:
        # Bounded, or the slope's own derivative would be infinite where nothing is seen.
        bent = jnp.maximum(scores[0], -cap) / cap
        d_scores = jnp.where(seen, d_scores * (1 - jnp.square(bent)), 0.0)
    else:
        d_scores = jnp.where(seen, d_scores, 0.0)
    d_scores = d_scores.astype(q.dtype)
    d_v = _product(powers.astype(v.dtype), d_share.astype(v.dtype), 1, 1)
    return _product(d_scores, k, 2, 1), _product(d_scores, q, 1, 1), d_v, None


weighted_mean.defvjp(_forward, _backward)


def _product(x: Array, y: Array, x_axis: int, y_axis: int) -> Array:
    return jax.lax.dot_general(x, y, (((x_axis,), (y_axis,)), ((0,), (0,))))
