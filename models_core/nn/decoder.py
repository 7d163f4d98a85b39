"""A decoder-only transformer in the style of Gemma 3, as pure functions over a pytree of parameters.

Source: Gemma Team, "Gemma 3 technical report", 2025 (arXiv 2503.19786), and "Gemma", 2024 (arXiv 2403.08295); details
as in google-deepmind/gemma.

    x = E[ids] sqrt(d) ;  per block: h = x + N2(Attn(N1 x)), x = h + N4(MLP(N3 h)) ;  logits = N(x) E^T
    N(x; w) = x / sqrt(mean x^2 + 1e-6) (1 + w) in float32, cast back after the multiplication
    MLP(x) = down( gelu_tanh(gate x) * up x ) ;  attention: grouped queries, QK-norm before rotary positions, window or
    global

Kernels are two-dimensional (in, out); a head's columns are adjacent. Without post_norms N2 and N4 are left out (Gemma
1).
Deviates: nothing known; the initialisation is a choice of this library.
Shapes: B batch, T time, D d_model, N query heads, K key/value heads, G = N/K, H head_dim, F d_ff, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from models_core.nn.configs import DecoderConfig

Params = dict[str, Any]
EPS = 1e-6


@partial(jax.jit, static_argnums=(1, 2, 3))
def init(key: Key[Array, ""], config: DecoderConfig, vocabulary: int, dtype: Any = jnp.float32) -> Params:
    """Fresh parameters: kernels of variance 1/fan-in, embedding rows of unit length, norm weights 0 (a factor of 1)."""
    d, query, kv, d_ff = (
        config.d_model,
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
        config.d_ff,
    )
    shapes = [
        (vocabulary, d),
        *[(d, query), (d, kv), (d, kv), (query, d), (d, d_ff), (d, d_ff), (d_ff, d)] * config.n_layers,
    ]
    # One draw cut into pieces compiles many times faster than a draw for each kernel.
    ends = np.cumsum([rows * columns for rows, columns in shapes]).tolist()
    draws = jax.random.normal(key, (ends[-1],))
    pieces = (draws[end - m * n : end].reshape(m, n) for end, (m, n) in zip(ends, shapes, strict=True))

    def kernel() -> Float[Array, "fan_in fan_out"]:
        piece = next(pieces)
        scaled: Array = (piece * piece.shape[0] ** -0.5).astype(dtype)
        return scaled

    def norm(size: int) -> Float[Array, " size"]:
        return jnp.zeros(size, dtype)

    def layer() -> Params:
        attention = {"query": kernel(), "key": kernel(), "value": kernel(), "out": kernel()}
        if config.qk_norm:
            attention |= {"query_norm": norm(config.head_dim), "key_norm": norm(config.head_dim)}
        mlp = {"gate": kernel(), "up": kernel(), "down": kernel()}
        block = {"attention": attention, "mlp": mlp, "pre_attention_norm": norm(d), "pre_mlp_norm": norm(d)}
        if config.post_norms:
            block |= {"post_attention_norm": norm(d), "post_mlp_norm": norm(d)}
        return block

    embedding = (next(pieces) * d**-0.5).astype(dtype)
    return {"embedding": embedding, "layers": [layer() for _ in range(config.n_layers)], "final_norm": norm(d)}


def apply(
    params: Params,
    config: DecoderConfig,
    tokens: Int[Array, "batch time"],
    positions: Int[Array, "#batch time"] | None = None,
    segments: Int[Array, "batch time"] | None = None,
) -> Float[Array, "batch time vocabulary"]:
    """Next-token logits. positions: place of each token in its sequence, 0, 1, .. when None.

    segments: which document of a packed row a token belongs to; attention stays inside it. One document when None.
    """
    return unembed(params, trunk(params, config, tokens, positions, segments))


def trunk(
    params: Params,
    config: DecoderConfig,
    tokens: Int[Array, "batch time"],
    positions: Int[Array, "#batch time"] | None = None,
    segments: Int[Array, "batch time"] | None = None,
) -> Float[Array, "batch time d_model"]:
    """What the last block leaves, normalised: `unembed` turns it, or any slice of it, into logits."""
    return rms_norm(hidden_states(params, config, tokens, positions, segments)[-1], params["final_norm"])


def unembed(params: Params, x: Float[Array, "*leading d_model"]) -> Float[Array, "*leading vocabulary"]:
    """Logits of the tied output layer."""
    logits: Float[Array, "*leading vocabulary"] = x @ params["embedding"].T
    return logits


def hidden_states(
    params: Params,
    config: DecoderConfig,
    tokens: Int[Array, "batch time"],
    positions: Int[Array, "#batch time"] | None = None,
    segments: Int[Array, "batch time"] | None = None,
) -> list[Float[Array, "batch time d_model"]]:
    """The residual stream: after the embedding, then after each block, before the final norm."""
    if positions is None:
        positions = jnp.arange(tokens.shape[1])[None, :]
    embedding = params["embedding"]
    # The factor is rounded to the embedding's dtype first, as in the published models.
    x = embedding[tokens] * jnp.asarray(config.d_model**0.5, embedding.dtype)
    states = [x]
    masks = {
        True: causal_mask(positions, positions, None),
        False: causal_mask(positions, positions, config.window),
    }
    if segments is not None:
        together = segments[:, :, None] == segments[:, None, :]
        masks = {kind: mask & together for kind, mask in masks.items()}
    for index, layer in enumerate(params["layers"]):
        is_global = config.is_global(index)
        base = config.rope_base_global if is_global else config.rope_base_local
        factor = config.rope_factor_global if is_global else 1.0
        rotation = rotary_angles(positions, config.head_dim, base, factor)
        branch = rms_norm(x, layer["pre_attention_norm"])
        branch = attention(layer["attention"], config, branch, rotation, masks[is_global])
        x = x + (rms_norm(branch, layer["post_attention_norm"]) if config.post_norms else branch)
        branch = mlp(layer["mlp"], rms_norm(x, layer["pre_mlp_norm"]))
        x = x + (rms_norm(branch, layer["post_mlp_norm"]) if config.post_norms else branch)
        states.append(x)
    return states


def attention(
    params: Params,
    config: DecoderConfig,
    x_BTD: Float[Array, "batch time d_model"],
    rotation: tuple[Float[Array, "#batch time half"], Float[Array, "#batch time half"]],
    mask_BTS: Bool[Array, "#batch time time"],
) -> Float[Array, "batch time d_model"]:
    """Grouped-query self-attention: query head n uses key/value head n // (N/K). Scores and softmax in float32."""
    batch, time, _ = x_BTD.shape
    groups, size = config.n_heads // config.n_kv_heads, config.head_dim
    q_BTNH = (x_BTD @ params["query"]).reshape(batch, time, config.n_heads, size)
    k_BTKH = (x_BTD @ params["key"]).reshape(batch, time, config.n_kv_heads, size)
    v_BTKH = (x_BTD @ params["value"]).reshape(batch, time, config.n_kv_heads, size)
    if config.qk_norm:
        q_BTNH = rms_norm(q_BTNH, params["query_norm"])
        k_BTKH = rms_norm(k_BTKH, params["key_norm"])
    scale = size**-0.5 if config.query_scale is None else config.query_scale
    q_BTKGH = (rotate(q_BTNH, rotation) * scale).reshape(batch, time, config.n_kv_heads, groups, size)
    scores_BKGTS = jnp.einsum("btkgh,bskh->bkgts", q_BTKGH, rotate(k_BTKH, rotation)).astype(jnp.float32)
    scores_BKGTS = jnp.where(mask_BTS[:, None, None], scores_BKGTS, np.finfo(np.float32).min)
    weights_BKGTS = jax.nn.softmax(scores_BKGTS, axis=-1).astype(x_BTD.dtype)
    out_BTKGH = jnp.einsum("bkgts,bskh->btkgh", weights_BKGTS, v_BTKH)
    out_BTD: Float[Array, "batch time d_model"] = out_BTKGH.reshape(batch, time, config.n_heads * size) @ params["out"]
    return out_BTD


def mlp(params: Params, x: Float[Array, "batch time d_model"]) -> Float[Array, "batch time d_model"]:
    """GeGLU with the tanh approximation of GELU."""
    gated = jax.nn.gelu(x @ params["gate"], approximate=True) * (x @ params["up"])
    out: Float[Array, "batch time d_model"] = gated @ params["down"]
    return out


def rms_norm(x: Float[Array, "*leading size"], weight: Float[Array, " size"]) -> Float[Array, "*leading size"]:
    """Root-mean-square normalisation over the last axis with the factor 1 + weight."""
    exact = x.astype(jnp.float32)
    unit = exact * jax.lax.rsqrt(jnp.mean(exact * exact, axis=-1, keepdims=True) + EPS)
    factor = 1 + weight.astype(jnp.float32)
    return (unit * factor.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


def rotary_angles(
    positions: Int[Array, "#batch time"], head_dim: int, base: float, factor: float
) -> tuple[Float[Array, "#batch time half"], Float[Array, "#batch time half"]]:
    """Cosine and sine of (position / factor) base^(-2i / head_dim), i = 0 .. head_dim/2 - 1."""
    exponents = jnp.arange(head_dim // 2, dtype=jnp.float32) * (-2.0 / head_dim)
    frequencies = jnp.asarray(base, jnp.float32) ** exponents
    angles = (positions.astype(jnp.float32) / factor)[:, :, None] * frequencies[None, None, :]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "batch time heads head_dim"],
    rotation: tuple[Float[Array, "#batch time half"], Float[Array, "#batch time half"]],
) -> Float[Array, "batch time heads head_dim"]:
    """Rotary position embedding on half-split pairs: entry i turns with entry i + head_dim/2."""
    cos, sin = (part[:, :, None, :] for part in rotation)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def causal_mask(
    queries: Int[Array, "#batch time"], keys: Int[Array, "#batch source"], window: int | None
) -> Bool[Array, "#batch time source"]:
    """Which key positions a query position sees: j <= i, and j > i - window where there is a window."""
    i, j = queries[:, :, None], keys[:, None, :]
    seen = j <= i
    return seen if window is None else seen & (j > i - window)
