"""The transformer block of the towers for images and sound: pre-norm, a bias everywhere, both ways attention.

Parameters of a layer: attention_norm, attention {query, key, value, out}, mlp_norm, mlp {up, down}; a linear is
{kernel, bias}, a norm {weight, bias}.
Shapes: B items, P places (patches or frames), W width.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from models_core.nn.linear import linear as product
from models_core.nn.norms import layer_norm

Params = dict[str, Any]


def init_layer(key: Key[Array, ""], width: int, d_ff: int, dtype: Any = jnp.float32) -> Params:
    """A fresh layer: kernels of variance 1/fan-in, biases 0, norm factors 1."""
    keys = iter(jax.random.split(key, 6))
    attention = {name: init_linear(next(keys), width, width, dtype) for name in ("query", "key", "value", "out")}
    mlp = {"up": init_linear(next(keys), width, d_ff, dtype), "down": init_linear(next(keys), d_ff, width, dtype)}
    return {
        "attention_norm": init_norm(width, dtype),
        "attention": attention,
        "mlp_norm": init_norm(width, dtype),
        "mlp": mlp,
    }


def init_linear(key: Key[Array, ""], rows: int, columns: int, dtype: Any) -> Params:
    """A fresh linear map of `rows` inputs."""
    kernel = jax.random.normal(key, (rows, columns)) * rows**-0.5
    return {"kernel": kernel.astype(dtype), "bias": jnp.zeros(columns, dtype)}


def init_norm(width: int, dtype: Any) -> Params:
    """A fresh layer norm."""
    return {"weight": jnp.ones(width, dtype), "bias": jnp.zeros(width, dtype)}


def block(
    layer: Params,
    n_heads: int,
    x_BPW: Float[Array, "items places width"],
    valid_BP: Bool[Array, "items places"] | None = None,
) -> Float[Array, "items places width"]:
    """One block. valid: places that others may look at, all when None."""
    x_BPW = x_BPW + _attention(layer["attention"], n_heads, norm(layer["attention_norm"], x_BPW), valid_BP)
    hidden = jax.nn.gelu(linear(layer["mlp"]["up"], norm(layer["mlp_norm"], x_BPW)), approximate=True)
    return x_BPW + linear(layer["mlp"]["down"], hidden)


def linear(params: Params, x: Float[Array, "items rows fan_in"]) -> Float[Array, "items rows fan_out"]:
    """x kernel + bias."""
    out: Float[Array, "items rows fan_out"] = product(x, params["kernel"]) + params["bias"][None, None, :]
    return out


def norm(params: Params, x: Float[Array, "items rows width"]) -> Float[Array, "items rows width"]:
    """Layer normalisation."""
    return layer_norm(x, params["weight"], params["bias"])


def _attention(
    params: Params, n_heads: int, x: Float[Array, "items places width"], valid_BP: Bool[Array, "items places"] | None
) -> Float[Array, "items places width"]:
    items, places, width = x.shape
    size = width // n_heads
    q, k, v = (linear(params[name], x).reshape(items, places, n_heads, size) for name in ("query", "key", "value"))
    scores = jnp.einsum("bthd,bshd->bhts", q * size**-0.5, k).astype(jnp.float32)
    if valid_BP is not None:
        scores = jnp.where(valid_BP[:, None, None, :], scores, np.finfo(np.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(x.dtype)
    return linear(params["out"], jnp.einsum("bhts,bshd->bthd", weights, v).reshape(items, places, width))
