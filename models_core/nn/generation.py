"""Text from a decoder with a cache: prompts in chunks, then one compiled loop over all new tokens.

Prompts of different lengths share a batch by padding on the left; a row's tokens do not depend on the other rows. The
loop stops early once every row has met a stop token. JAX; the PyTorch twin is `nn.torch.generation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from models_core.errors import InputInvalid
from models_core.nn import decoder
from models_core.nn.cache import Cache, create, extend
from models_core.nn.configs import DecoderConfig
from models_core.nn.prompts import Sampling, chunk_bounds, left_padded
from models_core.nn.sampling import choose


def generate(
    params: decoder.Params,
    config: DecoderConfig,
    prompts: Sequence[Sequence[int]],
    *,
    max_new: int,
    sampling: Sampling = Sampling(),  # noqa: B008
    stop_tokens: Sequence[int] = (),
    key: Key[Array, ""] | None = None,
    chunk: int = 512,
) -> list[list[int]]:
    """New tokens of each prompt, at most `max_new`, ending with a stop token if one was met.

    prompts: token ids, none empty. key: required unless the temperature is 0. chunk: columns of the prompts that run at
    once. Raises InputInvalid that names the argument.
    """
    rows = params["embedding"].shape[0]
    tokens, padding = left_padded(prompts, rows)
    _check(config, tokens.shape[1], max_new, chunk, key, sampling)
    cache = create(
        config, len(prompts), tokens.shape[1] + max_new, jnp.asarray(padding), dtype=params["embedding"].dtype
    )
    cache, last = prefill(params, config, cache, tokens, chunk)
    return _go_on(params, config, sampling, max_new, cache, last, stop_tokens, key)


def generate_from(
    params: decoder.Params,
    config: DecoderConfig,
    x: Float[Array, "batch time d_model"],
    *,
    padding: np.ndarray,
    blocks: np.ndarray,
    max_new: int,
    sampling: Sampling = Sampling(),  # noqa: B008
    stop_tokens: Sequence[int] = (),
    key: Key[Array, ""] | None = None,
    chunk: int = 512,
) -> list[list[int]]:
    """`generate` after embedded columns: those of `nn.interleaved.embed`, or of `nn.multimodal.embed`.

    params: of the decoder. padding: columns at the left of each row that hold nothing. blocks: number of the image that
    a column belongs to, -1 for none; no chunk ends inside one, so that chunks may be longer than `chunk`.
    """
    _check(config, x.shape[1], max_new, chunk, key, sampling)
    cache = create(config, x.shape[0], x.shape[1] + max_new, jnp.asarray(padding), dtype=x.dtype)
    for start, stop in pairwise(chunk_bounds(blocks, chunk)):
        cache, last = _feed_embedded(params, config, cache, x[:, start:stop], jnp.asarray(blocks[:, start:stop]))
    return _go_on(params, config, sampling, max_new, cache, last, stop_tokens, key)


def _go_on(
    params: decoder.Params,
    config: DecoderConfig,
    sampling: Sampling,
    max_new: int,
    cache: Cache,
    last: Float[Array, "batch vocabulary"],
    stop_tokens: Sequence[int],
    key: Key[Array, ""] | None,
) -> list[list[int]]:
    # A stop id that no row can produce keeps shapes alike when there is none.
    stops = jnp.asarray(list(stop_tokens) or [-1], jnp.int32)
    key = jax.random.key(0) if key is None else key
    made, lengths = _loop(params, config, sampling, max_new, cache, last, stops, key)
    table, counts = np.asarray(made), np.asarray(lengths)
    return [row[:count].tolist() for row, count in zip(table, counts, strict=True)]


def prefill(
    params: decoder.Params, config: DecoderConfig, cache: Cache, tokens: Any, chunk: int = 512
) -> tuple[Cache, Float[Array, "batch vocabulary"]]:
    """Run prompts (batch, time) through the cache in chunks: the cache, and the logits after the last column."""
    decoder.check_tokens(np.asarray(tokens), params["embedding"].shape[0], config)
    for start in range(0, tokens.shape[1], chunk):
        cache, last = _feed(params, config, cache, jnp.asarray(tokens[:, start : start + chunk], jnp.int32))
    return cache, last


@partial(jax.jit, static_argnums=1, donate_argnums=2)
def _feed(
    params: decoder.Params, config: DecoderConfig, cache: Cache, tokens: Int[Array, "batch time"]
) -> tuple[Cache, Float[Array, "batch vocabulary"]]:
    x, cache = extend(params, config, cache, decoder.embed(params, config, tokens))
    return cache, decoder.unembed(params, x[:, -1], config.logit_soft_cap)


@partial(jax.jit, static_argnums=1, donate_argnums=2)
def _feed_embedded(
    params: decoder.Params,
    config: DecoderConfig,
    cache: Cache,
    x: Float[Array, "batch time d_model"],
    blocks: Int[Array, "batch time"],
) -> tuple[Cache, Float[Array, "batch vocabulary"]]:
    out, cache = extend(params, config, cache, x, blocks)
    return cache, decoder.unembed(params, out[:, -1], config.logit_soft_cap)


def step(
    params: decoder.Params, config: DecoderConfig, cache: Cache, tokens: Int[Array, " batch"]
) -> tuple[Cache, Float[Array, "batch vocabulary"]]:
    """One token of each row: the cache with it, and the logits of the next."""
    x, cache = extend(params, config, cache, decoder.embed(params, config, tokens[:, None]))
    return cache, decoder.unembed(params, x[:, 0], config.logit_soft_cap)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _loop(
    params: decoder.Params,
    config: DecoderConfig,
    sampling: Sampling,
    max_new: int,
    cache: Cache,
    logits: Float[Array, "batch vocabulary"],
    stops: Int[Array, " stops"],
    key: Key[Array, ""],
) -> tuple[Int[Array, "batch new"], Int[Array, " batch"]]:
    batch = logits.shape[0]
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(batch))

    def goes_on(carry: Any) -> Bool[Array, ""]:
        index, _, _, _, lengths = carry
        goes_on: Array = (index < max_new) & ~jnp.all(lengths < index)
        return goes_on

    def advance(carry: Any) -> Any:
        index, cache, logits, made, lengths = carry
        tokens = choose(logits, sampling, jax.vmap(jax.random.fold_in, (0, None))(keys, index))
        # A row that stopped goes on computing with the others, but no longer counts.
        running = lengths == index
        lengths = jnp.where(running & ~_stopped(made, index, stops), index + 1, lengths)
        made = jax.lax.dynamic_update_slice_in_dim(made, tokens[:, None], index, axis=1)
        cache, logits = step(params, config, cache, tokens)
        return index + 1, cache, logits, made, lengths

    start = (
        jnp.zeros((), jnp.int32),
        cache,
        logits,
        jnp.zeros((batch, max_new), jnp.int32),
        jnp.zeros(batch, jnp.int32),
    )
    _, _, _, made, lengths = jax.lax.while_loop(goes_on, advance, start)
    return made, lengths


def _stopped(
    made: Int[Array, "batch new"], index: Int[Array, ""], stops: Int[Array, " stops"]
) -> Bool[Array, " batch"]:
    """Whether the token before `index` was a stop token."""
    before = jax.lax.dynamic_index_in_dim(made, jnp.maximum(index - 1, 0), axis=1, keepdims=False)
    return (index > 0) & jnp.any(before[:, None] == stops[None], axis=1)


def _check(
    config: DecoderConfig, prompt: int, max_new: int, chunk: int, key: Key[Array, ""] | None, sampling: Sampling
) -> None:
    wrong = {}
    if max_new < 1:
        wrong["max_new"] = "At least 1."
    if chunk < 1:
        wrong["chunk"] = "At least 1."
    if key is None and sampling.temperature > 0:
        wrong["key"] = "Sampling at a temperature above 0 needs a key."
    if wrong:
        raise InputInvalid("Generation cannot start.", fields=wrong)
    decoder.check_length(prompt + max_new, config)
