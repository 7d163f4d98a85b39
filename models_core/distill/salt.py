"""Which sequences a small model's second opinion is worth hearing on: the selection of SALT_DS.

Source: Rawat et al., "A little help goes a long way: efficient LLM training by leveraging small LMs", 2024 (arXiv
2410.18779). Reconstruction: the paper's algorithm box was not at hand; the score's shape follows public accounts.

    kept positions: the true token is among the scorer's k most probable;  score = median of -log p over them

A high median is hard, the top-k makes it learnable. Sequences with fewer than `min_kept` kept positions are out; the
others are ranked from the highest score, ties by index, and as many are taken as stage one needs.
Reduces to: the plain median of the sequence's losses at k = vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from models_core.errors import SpecInvalid
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig


@partial(jax.jit, static_argnums=(1, 3))
def judged(
    scorer: Any, config: DecoderConfig, rows: Int[Array, "batch row"], k: int
) -> tuple[Float[Array, "batch length"], Bool[Array, "batch length"]]:
    """Loss of every token after the first, and whether fewer than k tokens are more probable than it."""
    logits = decoder.apply(scorer, config.dropless, rows[:, :-1]).astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, rows[:, 1:, None], axis=-1)
    losses = jax.nn.logsumexp(logits, axis=-1) - chosen[..., 0]
    return losses, jnp.sum(logits > chosen, axis=-1) < k


def scores(
    losses: Float[np.ndarray, "rows length"], kept: Bool[np.ndarray, "rows length"], *, min_kept: int
) -> Float[np.ndarray, " rows"]:
    """The median of the kept losses of every row; -inf where fewer than `min_kept` (at least 1) are kept."""
    enough = kept.sum(axis=1) >= max(min_kept, 1)
    found = np.full(len(losses), -np.inf)
    if enough.any():
        found[enough] = np.nanmedian(np.where(kept[enough], losses[enough], np.nan), axis=1)
    return found


def select(found: Float[np.ndarray, " rows"], *, count: int, least: int) -> Int[np.ndarray, " chosen"]:
    """The rows of the `count` highest finite scores, best first; raises SpecInvalid when fewer than `least` qualify."""
    ranked = np.argsort(-found, kind="stable")
    best = ranked[: max(count, least)]
    chosen: np.ndarray = best[np.isfinite(found[best])].astype(np.int32)
    if len(chosen) < least:
        raise SpecInvalid(
            f"Only {len(chosen)} sequences have enough positions among the scorer's top-k, a batch needs {least}.",
            fields={"selection.min_kept": "Too high for this scorer."},
        )
    return chosen


def score_rows(
    scorer: Any, config: DecoderConfig, rows: Int[np.ndarray, "rows row"], *, k: int, min_kept: int, batch: int = 64
) -> Float[np.ndarray, " rows"]:
    """`scores` of many rows, a batch at a time."""
    losses, kept = judge_rows(scorer, config, rows, k=k, batch=batch)
    return scores(losses, kept, min_kept=min_kept)


def judge_rows(
    scorer: Any, config: DecoderConfig, rows: Int[np.ndarray, "rows row"], *, k: int, batch: int = 64
) -> tuple[Float[np.ndarray, "rows length"], Bool[np.ndarray, "rows length"]]:
    """`judged` for many rows, in batches of one shape."""
    parts = []
    for begin in range(0, len(rows), batch):
        piece = rows[begin : begin + batch]
        filled = np.concatenate([piece, np.repeat(piece[:1], batch - len(piece), axis=0)])
        parts.append([np.asarray(part)[: len(piece)] for part in judged(scorer, config, jnp.asarray(filled), k)])
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def terciles(losses: Float[np.ndarray, "rows length"]) -> Int[np.ndarray, "rows length"]:
    """0, 1, 2 for the third of tokens on which the model's loss is lowest, middle and highest."""
    low, high = np.quantile(losses, [1 / 3, 2 / 3])
    thirds: np.ndarray = (losses > low).astype(np.int32) + (losses > high)
    return thirds
