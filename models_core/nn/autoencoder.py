"""The deep autoencoder of the optimizer literature: narrowing tanh layers, a linear code, the same layers back.

Source: the MNIST benchmark of Devvrit et al., NeurIPS 2023 (arXiv 2311.10085): 784-1000-500-250-30-250-500-1000-784,
tanh after every layer but the code and the output, sigmoid cross-entropy summed over pixels and averaged over images.
Reduces to: that network at width 1, code 30 and 28x28 images.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from models_core.nn import mlp

HIDDEN = (1000, 500, 250)


def sizes(pixels: int, *, width: float, code: int) -> list[int]:
    """Layer sizes from input to output; `width` > 0 scales the hidden layers, `code` is the size of the narrowest."""
    hidden = [max(1, round(size * width)) for size in HIDDEN]
    return [pixels, *hidden, code, *reversed(hidden), pixels]


def init(key: Key[Array, ""], pixels: int, *, width: float, code: int) -> mlp.Params:
    """Fresh parameters, see `mlp.init`."""
    return mlp.init(key, sizes(pixels, width=width, code=code))


def apply(params: mlp.Params, x: Float[Array, "batch pixels"]) -> Float[Array, "batch pixels"]:
    """Logits of the reconstruction."""
    activations = [jnp.tanh] * len(params)
    linear = {len(params) // 2 - 1, len(params) - 1}
    return mlp.apply(params, x, [None if index in linear else act for index, act in enumerate(activations)])


def reconstruction_loss(
    logits: Float[Array, "batch pixels"], x: Float[Array, "batch pixels"]
) -> Float[Array, " batch"]:
    """Sigmoid cross-entropy of pixels in [0, 1], summed over the image, in nats."""
    return jnp.sum(jax.nn.softplus(logits) - x * logits, axis=-1)
