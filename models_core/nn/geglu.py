"""The gate of the decoder's feed-forward network: GELU, in its tanh approximation, of one projection times the other.

    h = gelu(g) u ;  gelu(g) = g (1 + tanh a) / 2 ;  a = sqrt(2/pi) (g + 0.044715 g^3)
    dg = dh u gelu'(g) ;  du = dh gelu(g)

Source: Shazeer, "GLU variants improve transformer", 2020 (arXiv 2002.05202); Hendrycks and Gimpel, "Gaussian error
linear units", 2016 (arXiv 1606.08415). Only the two inputs are kept for the gradient, which takes one pass for each of
them. First and higher derivatives in reverse mode; no forward mode.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715


@jax.custom_vjp
def geglu(gate: Float[Array, "*shape"], up: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """gelu(gate) up."""
    return jax.nn.gelu(gate, approximate=True) * up


def _forward(gate: Array, up: Array) -> tuple[Array, tuple[Array, Array]]:
    return geglu(gate, up), (gate, up)


def _backward(kept: tuple[Array, Array], d_out: Array) -> tuple[Array, Array]:
    gate, up = kept
    g = gate.astype(jnp.float32)
    square = g * g
    tanh = jnp.tanh(_ROOT * (g + _CUBIC * square * g))
    half = 0.5 * (1 + tanh)
    slope = half + 0.5 * g * (1 - tanh * tanh) * (_ROOT * (1 + 3 * _CUBIC * square))
    d = d_out.astype(jnp.float32)
    return (d * up.astype(jnp.float32) * slope).astype(gate.dtype), (d * g * half).astype(up.dtype)


geglu.defvjp(_forward, _backward)
