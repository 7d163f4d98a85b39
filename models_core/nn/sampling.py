"""Choosing the next token, and short samples without a cache (`nn.generation` has one)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig
from models_core.nn.prompts import Sampling


def choose(
    logits: Float[Array, "batch vocabulary"], sampling: Sampling, keys: Key[Array, " batch"]
) -> Int[Array, " batch"]:
    """The next token of each row, each from its own key."""
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return jax.vmap(jax.random.categorical)(keys, filtered(logits, sampling)).astype(jnp.int32)


def filtered(logits: Float[Array, "batch vocabulary"], sampling: Sampling) -> Float[Array, "batch vocabulary"]:
    """Logits over the temperature, minus infinity at excluded tokens. Ties with the k-th best are kept."""
    scaled = logits.astype(jnp.float32) / sampling.temperature
    if 0 < sampling.top_k < scaled.shape[1]:
        worst = jax.lax.top_k(scaled, sampling.top_k)[0][:, -1:]
        scaled = jnp.where(scaled < worst, -jnp.inf, scaled)
    if sampling.top_p < 1:
        ordered = -jnp.sort(-scaled, axis=-1)
        mass = jax.nn.softmax(ordered, axis=-1)
        # A token stays while the mass before it is short of top_p; the first always does.
        stays = jnp.cumsum(mass, axis=-1) - mass < sampling.top_p
        least = jnp.min(jnp.where(stays, ordered, jnp.inf), axis=-1, keepdims=True)
        scaled = jnp.where(scaled < least, -jnp.inf, scaled)
    return scaled


@partial(jax.jit, static_argnums=(1, 3))
def sample(
    params: decoder.Params,
    config: DecoderConfig,
    prompt: Int[Array, " prompt"],
    total: int,
    key: Key[Array, ""],
    temperature: Float[Array, ""],
) -> Int[Array, " total"]:
    """Continue `prompt` to `total` tokens by sampling from softmax(logits / temperature); temperature > 0.

    Recomputes the whole buffer for each token.
    """
    start = prompt.shape[0]
    buffer = jnp.zeros(total, prompt.dtype).at[:start].set(prompt)

    def extend(index: Int[Array, ""], buffer: Int[Array, " total"]) -> Int[Array, " total"]:
        logits = decoder.apply(params, config, buffer[None])[0, index - 1]
        token = jax.random.categorical(jax.random.fold_in(key, index), logits.astype(jnp.float32) / temperature)
        return buffer.at[index].set(token.astype(buffer.dtype))

    filled: Int[Array, " total"] = jax.lax.fori_loop(start, total, extend, buffer)
    return filled
