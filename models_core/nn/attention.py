"""Grouped-query attention of the decoder: projections, rotary positions, masks, scores.

Source: Gemma 3 technical report (arXiv 2503.19786); image blocks as in the transformers library.

A key's place in the sequence is its position; a negative position is padding, which nobody else sees. The tokens of one
image form a block and see each other both ways: a global layer lets i see j if j <= i or both lie in one block, a local
layer also wants j > i - window.
Shapes: B batch, T queries, S keys, D d_model, N query heads, K key/value heads, G = N/K, H head_dim.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models_core.nn import rotary
from models_core.nn.configs import DecoderConfig
from models_core.nn.linear import linear
from models_core.nn.norms import rms_norm
from models_core.nn.softmax_read import soft_cap as soft_cap
from models_core.nn.softmax_read import weighted_mean

# Position of a column that holds nothing.
_EMPTY = -(2**30)
Rotation = tuple[Float[Array, "#batch time half"], Float[Array, "#batch time half"]]


def project(
    params: dict[str, Any], config: DecoderConfig, x_BTD: Float[Array, "batch time d_model"], rotation: Rotation
) -> tuple[
    Float[Array, "batch time kv_heads groups head_dim"],
    Float[Array, "batch kv_heads time head_dim"],
    Float[Array, "batch kv_heads time head_dim"],
]:
    """Queries (scaled), keys and values; queries and keys normalised if configured, then rotated."""
    batch, time, _ = x_BTD.shape
    kv_heads, size = config.n_kv_heads, config.head_dim
    q_BTNH = linear(x_BTD, params["query"]).reshape(batch, time, config.n_heads, size)
    k_BTKH = linear(x_BTD, params["key"]).reshape(batch, time, kv_heads, size)
    v_BTKH = linear(x_BTD, params["value"]).reshape(batch, time, kv_heads, size)
    if config.qk_norm:
        q_BTNH = rms_norm(q_BTNH, params["query_norm"])
        k_BTKH = rms_norm(k_BTKH, params["key_norm"])
    scale = size**-0.5 if config.query_scale is None else config.query_scale
    q_BTKGH = (rotate(q_BTNH, rotation) * scale).reshape(batch, time, kv_heads, config.n_heads // kv_heads, size)
    return q_BTKGH, rotate(k_BTKH, rotation).transpose(0, 2, 1, 3), v_BTKH.transpose(0, 2, 1, 3)


def attend(
    params: dict[str, Any],
    config: DecoderConfig,
    q_BTKGH: Float[Array, "batch time kv_heads groups head_dim"],
    k_BKSH: Float[Array, "batch kv_heads source head_dim"],
    v_BKSH: Float[Array, "batch kv_heads source head_dim"],
    mask_BTS: Bool[Array, "#batch time source"],
) -> Float[Array, "batch time d_model"]:
    """What the queries read, projected. Query head n uses key/value head n // G. Softmax in float32."""
    out_BTKGH = _read(config, q_BTKGH, k_BKSH, v_BKSH, mask_BTS)
    return linear(out_BTKGH.reshape(*out_BTKGH.shape[:2], -1), params["out"])


def attend_local(
    params: dict[str, Any],
    config: DecoderConfig,
    q_BTKGH: Float[Array, "batch time kv_heads groups head_dim"],
    k_BKSH: Float[Array, "batch kv_heads time head_dim"],
    v_BKSH: Float[Array, "batch kv_heads time head_dim"],
    mask: Bool[Array, "#batch pieces window double"],
) -> Float[Array, "batch time d_model"]:
    """`attend` of a local layer whose keys are its queries' own text: scores of T x 2 window instead of T x T.

    Queries are cut into pieces of `window`; a piece sees itself and the piece before. mask: of `local_masks`.
    """
    batch, time, kv_heads, groups, size = q_BTKGH.shape
    pieces, window = mask.shape[1:3]
    short = pieces * window - time
    q = jnp.pad(q_BTKGH, ((0, 0), (0, short), (0, 0), (0, 0), (0, 0)))
    q = q.reshape(batch * pieces, window, kv_heads, groups, size)

    def pairs(x_BKSH: Array) -> Array:
        """Each piece behind the one before."""
        x = jnp.pad(x_BKSH, ((0, 0), (0, 0), (window, short), (0, 0)))
        x = x.reshape(batch, kv_heads, pieces + 1, window, size)
        both = jnp.concatenate([x[:, :, :-1], x[:, :, 1:]], axis=3)
        return both.transpose(0, 2, 1, 3, 4).reshape(batch * pieces, kv_heads, 2 * window, size)

    whole = jnp.broadcast_to(mask, (batch, *mask.shape[1:])).reshape(batch * pieces, window, 2 * window)
    out = _read(config, q, pairs(k_BKSH), pairs(v_BKSH), whole)
    out_BTM = out.reshape(batch, pieces * window, -1)[:, :time]
    return linear(out_BTM, params["out"])


def _read(
    config: DecoderConfig,
    q_BTKGH: Float[Array, "batch time kv_heads groups head_dim"],
    k_BKSH: Float[Array, "batch kv_heads source head_dim"],
    v_BKSH: Float[Array, "batch kv_heads source head_dim"],
    mask_BTS: Bool[Array, "#batch time source"],
) -> Float[Array, "batch time kv_heads groups head_dim"]:
    batch, time, kv_heads, groups, size = q_BTKGH.shape
    # The queries that share a key head are rows of one matrix: two plain products instead of an einsum with copies.
    q_PMH = q_BTKGH.transpose(0, 2, 3, 1, 4).reshape(batch * kv_heads, groups * time, size)
    k_PSH, v_PSH = (x.reshape(batch * kv_heads, -1, size) for x in (k_BKSH, v_BKSH))
    seen_PMS = jnp.broadcast_to(mask_BTS[:, None, None], (batch, kv_heads, groups, time, k_BKSH.shape[2]))
    seen_PMS = seen_PMS.reshape(batch * kv_heads, groups * time, -1)
    out_PMH = weighted_mean(q_PMH, k_PSH, v_PSH, seen_PMS, config.attention_soft_cap)
    out: Float[Array, "batch time kv_heads groups head_dim"] = out_PMH.reshape(
        batch, kv_heads, groups, time, size
    ).transpose(0, 3, 1, 2, 4)
    return out


def rotations(config: DecoderConfig, positions: Int[Array, "#batch time"]) -> dict[bool, Rotation]:
    """Rotary angles of global (True) and local (False) layers."""
    return {
        True: rotary_angles(positions, config.head_dim, config.rope_base_global, config.rope_factor_global),
        False: rotary_angles(positions, config.head_dim, config.rope_base_local, 1.0),
    }


def rotary_angles(
    positions: Int[Array, "#batch time"], head_dim: int, base: float, factor: float
) -> tuple[Float[Array, "#batch time half"], Float[Array, "#batch time half"]]:
    """Cosine and sine of (position / factor) base^(-2i / head_dim), i = 0 .. head_dim/2 - 1."""
    table = jnp.asarray(rotary.frequencies(head_dim, base, factor))
    angles = positions.astype(jnp.float32)[:, :, None] * table[None, None, :]
    # Without the barrier XLA computes them anew for every head of every layer.
    cos, sin = jax.lax.optimization_barrier((jnp.cos(angles), jnp.sin(angles)))  # type: ignore[no-untyped-call]
    return cos, sin


def rotate(
    x: Float[Array, "batch time heads head_dim"], rotation: Rotation
) -> Float[Array, "batch time heads head_dim"]:
    """Rotary position embedding on half-split pairs: entry i turns with entry i + head_dim/2."""
    cos, sin = (part[:, :, None, :] for part in rotation)
    # Halves change places by a reversed axis: XLA's CPU backend runs loops over joined arrays without vectors.
    halves = x.astype(jnp.float32).reshape(*x.shape[:-1], 2, -1)
    signed = jnp.stack([-sin, sin], axis=-2)
    turned = halves * cos[..., None, :] + halves[..., ::-1, :] * signed
    return turned.reshape(x.shape).astype(x.dtype)


def causal_mask(
    queries: Int[Array, "#batch time"],
    keys: Int[Array, "#batch source"],
    window: int | None,
    query_blocks: Int[Array, "#batch time"] | None = None,
    key_blocks: Int[Array, "#batch source"] | None = None,
) -> Bool[Array, "#batch time source"]:
    """Which key positions a query position sees: j <= i or both in one block, and j > i - window where there is one.

    blocks: number of the image that a token belongs to, -1 for text. Keys at negative positions are seen by themselves
    alone.
    """
    i, j = queries[:, :, None], keys[:, None, :]
    seen = j <= i
    if query_blocks is not None and key_blocks is not None:
        seen = seen | ((query_blocks[:, :, None] == key_blocks[:, None, :]) & (query_blocks[:, :, None] >= 0))
    if window is not None:
        seen = seen & (j > i - window)
    return seen & ((j >= 0) | (j == i))


def masks(
    config: DecoderConfig,
    positions: Int[Array, "#batch time"],
    blocks: Int[Array, "#batch time"] | None,
    segments: Int[Array, "#batch time"] | None = None,
) -> dict[bool, Bool[Array, "#batch time time"]]:
    """Masks of global (True) and local (False) layers of a text that attends to itself.

    segments: number of the document of a packed row that a token belongs to; nothing is seen across.
    """
    both = {
        True: causal_mask(positions, positions, None, blocks, blocks),
        False: causal_mask(positions, positions, config.window, blocks, blocks),
    }
    if segments is None:
        return both
    together = segments[:, :, None] == segments[:, None, :]
    return {kind: mask & together for kind, mask in both.items()}


def local_masks(
    config: DecoderConfig, positions: Int[Array, "#batch time"], segments: Int[Array, "#batch time"] | None
) -> Bool[Array, "#batch pieces window double"]:
    """What the queries of each piece of `window` columns see of their own piece and the one before."""
    window = config.window
    batch, time = positions.shape
    short, pieces = -time % window, -(-time // window)

    def cut(x: Array, empty: int) -> tuple[Array, Array]:
        x = jnp.pad(x, ((0, 0), (window, short)), constant_values=empty).reshape(x.shape[0], pieces + 1, window)
        own, before = x[:, 1:], x[:, :-1]
        both = jnp.concatenate([before, own], axis=2)
        return own.reshape(-1, window), both.reshape(-1, 2 * window)

    queries, keys = cut(positions, _EMPTY)
    seen = causal_mask(queries, keys, window).reshape(batch, pieces, window, 2 * window)
    if segments is None:
        return seen
    queries, keys = cut(segments, -1)
    together = queries[:, :, None] == keys[:, None, :]
    return seen & together.reshape(segments.shape[0], pieces, window, 2 * window)
