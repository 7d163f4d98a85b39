"""The vision tower of Gemma 3 (SigLIP So400m) and its projector, as pure functions over a pytree of parameters.

Source: Zhai et al., "Sigmoid loss for language image pre-training", 2023 (arXiv 2303.15343); Gemma 3 technical report
(arXiv 2503.19786), section 2.1.

    patches p x p -> linear + learned positions -> pre-norm blocks (bias everywhere, ordinary layer norm, gelu_tanh)
    -> layer norm -> average over pool x pool patches -> RMS norm (1 + w) -> matrix to the decoder's width

Soft tokens are not multiplied by sqrt(d). No pooling head.
Shapes: B images, C channels, P patches, W width, S soft tokens an image, D the decoder's d_model.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from models_core.errors import InputInvalid
from models_core.nn import tower
from models_core.nn.configs import VisionConfig
from models_core.nn.norms import rms_norm

Params = dict[str, Any]


@partial(jax.jit, static_argnums=(1, 2))
def init(key: Key[Array, ""], config: VisionConfig, dtype: Any = jnp.float32) -> Params:
    """A fresh tower: kernels of variance 1/fan-in, biases 0, norm factors 1, positions of standard deviation 0.02."""
    width, keys = config.width, iter(jax.random.split(key, config.n_layers + 2))
    positions = (jax.random.normal(next(keys), (config.grid**2, width)) * 0.02).astype(dtype)
    return {
        "patch": tower.init_linear(next(keys), config.channels * config.patch_size**2, width, dtype),
        "positions": positions,
        "layers": [tower.init_layer(next(keys), width, config.d_ff, dtype) for _ in range(config.n_layers)],
        "final_norm": tower.init_norm(width, dtype),
    }


def init_projector(key: Key[Array, ""], config: VisionConfig, d_model: int, dtype: Any = jnp.float32) -> Params:
    """A fresh projector into a decoder of width `d_model`."""
    kernel = jax.random.normal(key, (config.width, d_model)) * config.width**-0.5
    return {"norm": jnp.zeros(config.width, dtype), "kernel": kernel.astype(dtype)}


def apply(
    params: Params, config: VisionConfig, pixels_BCHW: Float[Array, "images channels height width"]
) -> Float[Array, "images patches vision"]:
    """Features of every patch, row by row. pixels: in -1 .. 1, of the config's size; see `nn.images.to_pixels`."""
    _check(config, pixels_BCHW.shape)
    x = tower.linear(params["patch"], patches(config, pixels_BCHW).astype(params["positions"].dtype))
    x = x + params["positions"][None]
    for layer in params["layers"]:
        x = tower.block(layer, config.n_heads, x)
    return tower.norm(params["final_norm"], x)


def project(
    params: Params, config: VisionConfig, features_BPW: Float[Array, "images patches vision"]
) -> Float[Array, "images tokens d_model"]:
    """Soft tokens: patches pooled, normalised and turned to the decoder's width."""
    images, _, width = features_BPW.shape
    side, pool = config.grid // config.pool, config.pool
    grid = features_BPW.reshape(images, side, pool, side, pool, width)
    pooled = jnp.mean(grid, axis=(2, 4)).reshape(images, side * side, width)
    out: Float[Array, "images tokens d_model"] = rms_norm(pooled, params["norm"]) @ params["kernel"]
    return out


def patches(
    config: VisionConfig, pixels_BCHW: Float[Array, "images channels height width"]
) -> Float[Array, "images patches numbers"]:
    """Each patch as one row of numbers: channel by channel, line by line."""
    images, channels, _, _ = pixels_BCHW.shape
    grid, size = config.grid, config.patch_size
    cut = pixels_BCHW.reshape(images, channels, grid, size, grid, size).transpose(0, 2, 4, 1, 3, 5)
    return cut.reshape(images, grid * grid, channels * size * size)


def _check(config: VisionConfig, shape: tuple[int, ...]) -> None:
    wanted = (config.channels, config.image_size, config.image_size)
    if tuple(shape[1:]) != wanted:
        raise InputInvalid(
            "The images have the wrong size.", fields={"pixels": f"Must be (images, {wanted}), are {tuple(shape)}."}
        )
