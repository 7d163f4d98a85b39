"""Text from a decoder, one token at a time. Recomputes the whole buffer for each token: for short samples only."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig


@partial(jax.jit, static_argnums=(1, 3))
def sample(
    params: decoder.Params,
    config: DecoderConfig,
    prompt: Int[Array, " prompt"],
    total: int,
    key: Key[Array, ""],
    temperature: Float[Array, ""],
) -> Int[Array, " total"]:
    """Continue `prompt` to `total` tokens by sampling from softmax(logits / temperature); temperature > 0."""
    start = prompt.shape[0]
    buffer = jnp.zeros(total, prompt.dtype).at[:start].set(prompt)

    def extend(index: Int[Array, ""], buffer: Int[Array, " total"]) -> Int[Array, " total"]:
        logits = decoder.apply(params, config, buffer[None])[0, index - 1]
        token = jax.random.categorical(jax.random.fold_in(key, index), logits.astype(jnp.float32) / temperature)
        return buffer.at[index].set(token.astype(buffer.dtype))

    filled: Int[Array, " total"] = jax.lax.fori_loop(start, total, extend, buffer)
    return filled
