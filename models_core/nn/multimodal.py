"""Gemma 3 with images: soft tokens from the vision tower take the places of the image token in the text.

Source: Gemma 3 technical report (arXiv 2503.19786); masks as in the transformers library: a run of image tokens is one
block whose tokens see each other both ways, in local layers only back to the window. Adjacent images without a token
between them so become one block; the published prompts always put tokens between.
Parameters: {"text": tree of `nn.decoder`, "vision": tree of `nn.vision`, "projector": {"norm", "kernel"}}.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from models_core.errors import InputInvalid
from models_core.nn import decoder, vision
from models_core.nn.configs import DecoderConfig, VisionConfig

Params = dict[str, Any]
SOFT_TOKEN = 262_144


def apply(
    params: Params,
    config: DecoderConfig,
    vision_config: VisionConfig,
    tokens: Int[Array, "batch time"],
    pixels: Float[Array, "images channels height width"] | None = None,
    positions: Int[Array, "#batch time"] | None = None,
    soft_token: int = SOFT_TOKEN,
) -> Float[Array, "batch time vocabulary"]:
    """Next-token logits. pixels: the images in the order of their places, row after row of the batch."""
    soft = None if pixels is None else soft_tokens(params, vision_config, pixels)
    x = embed(params["text"], config, tokens, soft, soft_token)
    blocks = None if soft is None else image_blocks(tokens, soft_token)
    run = decoder.run(params["text"], config, x, positions, blocks)
    return decoder.unembed(params["text"], run.x, config.logit_soft_cap)


def soft_tokens(
    params: Params, config: VisionConfig, pixels: Float[Array, "images channels height width"]
) -> Float[Array, "images tokens d_model"]:
    """The tokens of each image, ready to stand in the decoder's input; worth keeping while the tower is frozen."""
    return vision.project(params["projector"], config, vision.apply(params["vision"], config, pixels))


def embed(
    text: decoder.Params,
    config: DecoderConfig,
    tokens: Int[Array, "batch time"],
    soft: Float[Array, "images tokens d_model"] | None,
    soft_token: int = SOFT_TOKEN,
) -> Float[Array, "batch time d_model"]:
    """Embedded text with soft tokens, unscaled, in the places of `soft_token`.

    Raises InputInvalid when places and soft tokens differ in number, unless tokens are traced by jit.
    """
    here = tokens == soft_token
    check_places(tokens, soft_token, 0 if soft is None else soft.shape[0] * soft.shape[1])
    # The id may lie past the embedding's rows; its own row is never used.
    x = decoder.embed(text, config, jnp.where(here, 0, tokens))
    if soft is None:
        return x
    rows = soft.reshape(-1, soft.shape[-1])
    order = jnp.cumsum(here.reshape(-1).astype(jnp.int32)) - 1
    placed = rows[jnp.clip(order, 0, rows.shape[0] - 1)].reshape(x.shape).astype(x.dtype)
    return jnp.where(here[:, :, None], placed, x)


def image_blocks(tokens: Int[Array, "batch time"], soft_token: int = SOFT_TOKEN) -> Int[Array, "batch time"]:
    """Number of the run of image tokens that a token belongs to, -1 for text."""
    here = tokens == soft_token
    before = jnp.pad(here, ((0, 0), (1, 0)))[:, :-1]
    number = jnp.cumsum((here & ~before).astype(jnp.int32), axis=1) - 1
    return jnp.where(here, number, -1)


def check_places(tokens: Any, soft_token: int, given: int) -> None:
    """Refuse a text whose image places are not as many as the soft tokens. Traced tokens are not looked at."""
    if isinstance(tokens, jax.core.Tracer):
        return
    places = int(np.sum(np.asarray(tokens) == soft_token))
    if places != given:
        reason = f"The text has {places} image places, the images make {given} soft tokens."
        raise InputInvalid("Images and text do not fit.", fields={"tokens": reason})
