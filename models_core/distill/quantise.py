"""Weights rounded to few bits while training: int4 by channel, int4 in blocks of 32, and an 8-bit float.

Source: the formats that Gemma Team, "Gemma 3 technical report", 2025, section 2.3 names; Jacob et al., CVPR 2018, for
training through the rounding; Bengio et al., 2013 (arXiv 1308.3432), for the straight-through gradient.

    step = max |w| / 7 over a column or a block of 32 rows of it;  code = round(w / step) in -7 .. 7;  value = code step
    float8: nearest e4m3 number of w / s, s = max |w| / 448 over a column

Kernels are (in, out): a channel is a column. The embedding (vocabulary, width) is the output layer's kernel the other
way round: its channels are its rows. Every expert has scales of its own; routers, which decide by small differences,
stay as they are. The gradient passes unchanged, as every weight lies inside its range.
Deviates: "SFP8" is not published in detail; e4m3 with a scale by column stands for it.
Reduces to: the weights themselves at `bits` large enough.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models_core.distill.plan import Format as Format

BLOCK = 32
_LARGEST_E4M3 = 448.0


def encode(
    weights: Float[Array, "inputs outputs"], *, block: int = 0, bits: int = 4
) -> tuple[Int[Array, "blocks rows outputs"], Float[Array, "blocks one outputs"]]:
    """Integer codes and steps; block: rows that share a step, 0 for all. The last block is filled up with zeros."""
    rows = weights.shape[0]
    size = block or rows
    filled = jnp.pad(weights.astype(jnp.float32), [(0, -rows % size), (0, 0)]).reshape(-1, size, weights.shape[1])
    largest = 2 ** (bits - 1) - 1
    step = jnp.max(jnp.abs(filled), axis=1, keepdims=True) / largest
    codes = jnp.round(filled / jnp.where(step > 0, step, 1.0))
    return jnp.clip(codes, -largest, largest).astype(jnp.int32), step


def decode(
    codes: Int[Array, "blocks rows outputs"], step: Float[Array, "blocks one outputs"], inputs: int
) -> Float[Array, "inputs outputs"]:
    """The weights that the codes mean."""
    values: Array = (codes.astype(jnp.float32) * step).reshape(-1, codes.shape[-1])[:inputs]
    return values


def rounded(weights: Float[Array, "inputs outputs"], kind: Format) -> Float[Array, "inputs outputs"]:
    """The nearest weights of the format; the gradient is that of the identity."""
    if kind == "float8":
        scale = jnp.max(jnp.abs(weights), axis=0, keepdims=True) / _LARGEST_E4M3
        scale = jnp.where(scale > 0, scale, 1.0)
        values = (weights / scale).astype(jnp.float8_e4m3fn).astype(jnp.float32) * scale
    else:
        values = decode(*encode(weights, block=BLOCK if kind == "int4_block" else 0), weights.shape[0])
    through: Array = weights + jax.lax.stop_gradient(values.astype(weights.dtype) - weights)
    return through


def stored_bytes(inputs: int, outputs: int, kind: Format) -> int:
    """Size of a kernel with its scales (16 bits each)."""
    if kind == "float8":
        return inputs * outputs + 2 * outputs
    steps = -(-inputs // BLOCK) if kind == "int4_block" else 1
    return -(-inputs * outputs // 2) + 2 * steps * outputs


def rounded_kernels(model: Any, kind: Format) -> Any:
    """Every matrix of a parameter tree rounded, embedding and experts included; norms, biases and routers stay."""

    def leaf_rounded(path: Any, leaf: Array) -> Array:
        if leaf.ndim == 3:
            return jax.vmap(lambda expert: rounded(expert, kind))(leaf)
        if not _is_rounded(path, leaf):
            return leaf
        return rounded(leaf.T, kind).T if _name(path) == "embedding" else rounded(leaf, kind)

    return jax.tree_util.tree_map_with_path(leaf_rounded, model)


def model_bytes(model: Any, kind: Format | None) -> int:
    """Size of a parameter tree on disk: matrices in the format, everything else in 16 bits; all in 16 without one."""

    def size(path: Any, leaf: Any) -> int:
        if kind is None or not _is_rounded(path, leaf):
            return 2 * int(leaf.size)
        *experts, inputs, outputs = leaf.shape[::-1] if _name(path) == "embedding" else leaf.shape
        return int(math.prod(experts)) * stored_bytes(inputs, outputs, kind)

    return sum(size(path, leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(model)[0])


def _is_rounded(path: Any, leaf: Any) -> bool:
    return leaf.ndim > 1 and _name(path) != "router"


def _name(path: Any) -> str:
    return str(getattr(path[-1], "key", ""))
