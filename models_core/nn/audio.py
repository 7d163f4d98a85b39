"""The audio tower: log-mel frames to soft tokens, as pure functions over a pytree of parameters.

Source: the layout of Gemini's audio input (arXiv 2312.11805: 16 kHz features of an encoder, between the text); two
strided convolutions before the blocks as in Whisper (Radford et al., 2022, arXiv 2212.04356).

    frames (10 ms) -> 2 x [convolution of 3, stride 2, gelu] -> + sine positions -> pre-norm blocks (`nn.tower`)
    -> layer norm -> mean of `pool` steps (40 ms each) -> RMS norm (1 + w) -> matrix to the decoder's width

At the default pool of 4 a token is 160 ms. Clips of unequal length share a batch: a clip's tokens do not depend on it.
Deviates: Gemini's encoder is not disclosed; everything here is a choice. Soft tokens are not multiplied by sqrt(d).
Shapes: B clips, F frames, M mel bins, S steps, W width, D the decoder's d_model.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from models_core.errors import InputInvalid
from models_core.nn import tower
from models_core.nn.configs import AudioConfig
from models_core.nn.norms import rms_norm

Params = dict[str, Any]
# Longest and shortest wave of the positions, in steps: 40 ms to about an hour.
_LONGEST = 10_000.0


@partial(jax.jit, static_argnums=(1, 2, 3))
def init(key: Key[Array, ""], config: AudioConfig, d_model: int, dtype: Any = jnp.float32) -> Params:
    """A fresh tower and its projector into a decoder of width `d_model`."""
    width, keys = config.width, iter(jax.random.split(key, config.n_layers + 3))
    return {
        "first": tower.init_linear(next(keys), 3 * config.mel_bins, width, dtype),
        "second": tower.init_linear(next(keys), 3 * width, width, dtype),
        "layers": [tower.init_layer(next(keys), width, config.d_ff, dtype) for _ in range(config.n_layers)],
        "final_norm": tower.init_norm(width, dtype),
        "projector": {
            "norm": jnp.zeros(width, dtype),
            "kernel": (jax.random.normal(next(keys), (width, d_model)) * width**-0.5).astype(dtype),
        },
    }


def apply(
    params: Params,
    config: AudioConfig,
    mels_BFM: Float[Array, "clips frames mels"],
    lengths_B: Int[Array, " clips"],
) -> Float[Array, "clips tokens d_model"]:
    """Soft tokens of each clip; those past `config.tokens(length)` mean nothing.

    mels: `nn.sound.log_mel` of each clip, filled up with anything. lengths: frames of each clip, at least 1.
    """
    if mels_BFM.shape[2] != config.mel_bins:
        reason = f"Must be (clips, frames, {config.mel_bins}), are {mels_BFM.shape}."
        raise InputInvalid("The spectrograms have the wrong size.", fields={"mels": reason})
    x = mels_BFM.astype(params["first"]["kernel"].dtype)
    for name in ("first", "second"):
        x = jax.nn.gelu(tower.linear(params[name], _patches(_kept(x, lengths_B))), approximate=True)
        lengths_B = (lengths_B + 1) // 2
    x = x + jnp.asarray(sines(x.shape[1], config.width)).astype(x.dtype)[None]
    valid_BS = _within(x.shape[1], lengths_B)
    for layer in params["layers"]:
        x = tower.block(layer, config.n_heads, x, valid_BS)
    x = _kept(tower.norm(params["final_norm"], x), lengths_B)
    pooled = _pool(x, valid_BS, config.pool)
    out: Float[Array, "clips tokens d_model"] = (
        rms_norm(pooled, params["projector"]["norm"]) @ params["projector"]["kernel"]
    )
    return out


def sines(steps: int, width: int) -> np.ndarray:
    """Positions (steps, width), half sines and half cosines, one table for every framework."""
    waves = _LONGEST ** (-np.arange(width // 2) / max(width // 2 - 1, 1))
    angles = np.arange(steps)[:, None] * waves
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _within(size: int, lengths: Int[Array, " clips"]) -> Bool[Array, "clips _"]:
    return jnp.arange(size)[None, :] < lengths[:, None]


def _kept(x: Float[Array, "clips steps size"], lengths: Int[Array, " clips"]) -> Float[Array, "clips steps size"]:
    """Zeros past a clip's end, as if the clip were alone."""
    return jnp.where(_within(x.shape[1], lengths)[:, :, None], x, jnp.zeros((), x.dtype))


def _patches(x: Float[Array, "clips steps size"]) -> Float[Array, "clips half triple"]:
    """Three neighbours of every second step side by side, zeros past both ends: a convolution as one product."""
    half = (x.shape[1] + 1) // 2
    padded = jnp.pad(x, ((0, 0), (1, 2 * half - x.shape[1] + 1), (0, 0)))
    return jnp.concatenate([padded[:, start : start + 2 * half : 2] for start in range(3)], axis=-1)


def _pool(
    x: Float[Array, "clips steps width"], valid: Bool[Array, "clips steps"], pool: int
) -> Float[Array, "clips tokens width"]:
    """Means over the steps that are there."""
    clips, steps, width = x.shape
    rest = -steps % pool
    sums = jnp.pad(x, ((0, 0), (0, rest), (0, 0))).reshape(clips, -1, pool, width).sum(axis=2)
    counts = jnp.pad(valid, ((0, 0), (0, rest))).reshape(clips, -1, pool).astype(jnp.float32).sum(axis=2)
    return sums / jnp.maximum(counts, 1.0)[:, :, None].astype(x.dtype)
