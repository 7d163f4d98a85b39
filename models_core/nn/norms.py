"""Normalisations over the last axis, computed in float32 whatever the input's precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPS = 1e-6


def rms_norm(x: Float[Array, "*leading size"], weight: Float[Array, " size"]) -> Float[Array, "*leading size"]:
    """Root-mean-square normalisation with the factor 1 + weight, cast back after the multiplication."""
    exact = x.astype(jnp.float32)
    unit = exact * jax.lax.rsqrt(jnp.mean(exact * exact, axis=-1, keepdims=True) + EPS)
    factor = 1 + weight.astype(jnp.float32)
    return (unit * factor.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


def layer_norm(
    x: Float[Array, "*leading size"], weight: Float[Array, " size"], bias: Float[Array, " size"]
) -> Float[Array, "*leading size"]:
    """Layer normalisation with an ordinary factor (not 1 + weight) and a bias."""
    exact = x.astype(jnp.float32)
    centred = exact - jnp.mean(exact, axis=-1, keepdims=True)
    unit = centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + EPS)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (unit * weight.astype(jnp.float32).reshape(shape) + bias.astype(jnp.float32).reshape(shape)).astype(x.dtype)
