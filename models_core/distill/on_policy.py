"""Sequences that a model writes itself, to be judged by the teacher or used as labels.

Source: Agarwal et al., "On-policy distillation of language models", ICLR 2024 (arXiv 2306.13649), algorithm 1: with
probability lambda a batch is the student's own (see `plan.is_own`), and no gradient flows through the sampling; Kim and
Rush, "Sequence-level knowledge distillation", EMNLP 2016, for text written by the teacher.
Cost: recomputes the whole row for every token; for short rows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig


def continued(
    params: decoder.Params,
    config: DecoderConfig,
    rows: Int[Array, "batch row"],
    key: Key[Array, ""],
    *,
    prompt: int,
    vocabulary: int,
    temperature: float,
) -> Int[Array, "batch row"]:
    """The first `prompt` tokens of every row, continued by sampling from softmax(logits / temperature).

    vocabulary: ids that may be written; padding rows of the embedding are not.
    """

    def extend(index: Int[Array, ""], written: Int[Array, "batch row"]) -> Int[Array, "batch row"]:
        x = decoder.trunk(params, config, written)
        last = jax.lax.dynamic_index_in_dim(x, index - 1, axis=1, keepdims=False)
        logits = decoder.unembed(params, last, config.logit_soft_cap)[:, :vocabulary].astype(jnp.float32) / temperature
        tokens = jax.random.categorical(jax.random.fold_in(key, index), logits).astype(written.dtype)
        extended: Array = jax.lax.dynamic_update_index_in_dim(written, tokens, index, axis=1)
        return extended

    blank = jnp.where(jnp.arange(rows.shape[1])[None, :] < prompt, rows, 0)
    written: Int[Array, "batch row"] = jax.lax.stop_gradient(jax.lax.fori_loop(prompt, rows.shape[1], extend, blank))
    return written


def written_mask(batch: int, length: int, prompt: int) -> Float[Array, "batch length"]:
    """1 where the target (token j + 1 of a row) was written and not given."""
    mask: Array = (jnp.arange(length) + 1 >= prompt).astype(jnp.float32)
    return jnp.broadcast_to(mask[None, :], (batch, length))
