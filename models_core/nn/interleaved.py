"""A decoder that reads text, images, sound and video in one sequence; batches come from `nn.segments`.

Soft tokens of the towers take the places of their segments, unscaled, and the decoder runs over all of them. A Gemma 3
checkpoint with images is such a model without an audio tower.
Parameters: {"text": tree of `nn.decoder`, "vision": tree of `nn.vision`, "projector": {"norm", "kernel"}, "audio": tree
of `nn.audio`}; towers that the config does not have are absent. Frames use the images' tower and projector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from models_core.nn import audio, decoder, vision
from models_core.nn.configs import InterleavedConfig
from models_core.nn.segments import TEXT

Params = dict[str, Any]


def init(key: Key[Array, ""], config: InterleavedConfig, vocabulary: int, dtype: Any = jnp.float32) -> Params:
    """Fresh parameters of the decoder and of each tower that the config has."""
    text, tower, projector, ears = jax.random.split(key, 4)
    params: Params = {"text": decoder.init(text, config.decoder, vocabulary, dtype)}
    d_model = config.decoder.d_model
    if config.vision is not None:
        params["vision"] = vision.init(tower, config.vision, dtype)
        params["projector"] = vision.init_projector(projector, config.vision, d_model, dtype)
    if config.audio is not None:
        params["audio"] = audio.init(ears, config.audio, d_model, dtype)
    return params


def apply(params: Params, config: InterleavedConfig, batch: Mapping[str, Any]) -> Float[Array, "batch time vocabulary"]:
    """Next-token logits at every column. batch: `Interleaved.arrays()`."""
    x = embed(params, config, batch)
    positions, blocks = (jnp.asarray(batch[name]) for name in ("positions", "blocks"))
    run = decoder.run(params["text"], config.decoder, x, positions, blocks)
    return decoder.unembed(params["text"], run.x, config.decoder.logit_soft_cap)


def embed(params: Params, config: InterleavedConfig, batch: Mapping[str, Any]) -> Float[Array, "batch time d_model"]:
    """The decoder's input: embedded text, and soft tokens in their places."""
    x = decoder.embed(params["text"], config.decoder, jnp.asarray(batch["tokens"]))
    soft = soft_tokens(params, config, batch)
    if soft is None:
        return x
    placed = soft[jnp.asarray(batch["places"])].astype(x.dtype)
    return jnp.where((jnp.asarray(batch["kinds"]) > TEXT)[:, :, None], placed, x)


def soft_tokens(
    params: Params, config: InterleavedConfig, batch: Mapping[str, Any]
) -> Float[Array, "tokens d_model"] | None:
    """Soft tokens of all images, frames and clips, one after the other; None for text alone."""
    parts: list[Array] = []
    for name, shape in (("images", config.vision), ("frames", config.vision and config.frame)):
        if name in batch and shape is not None:
            features = vision.apply(params["vision"], shape, jnp.asarray(batch[name]))
            parts.append(vision.project(params["projector"], shape, features))
    if "mels" in batch and config.audio is not None:
        parts.append(
            audio.apply(params["audio"], config.audio, jnp.asarray(batch["mels"]), jnp.asarray(batch["mel_lengths"]))
        )
    if not parts:
        return None
    return jnp.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])
