"""Whether probabilities mean what they say: against true labels, and against a distribution that is known.

Source: Guo et al., "On calibration of modern neural networks", ICML 2017, for the expected calibration error; the
second form is its counterpart where the truth is a distribution and not a label.

    against labels: tokens in BINS equal bins by the probability c of the id ranked first;
        error = sum over bins |sum (c - [first is right])| / tokens
    against p: entries (token, id) in bins of a factor of two by q;  error = sum over bins |sum q - sum p| / (2 tokens)

Both lie in [0, 1] and are 0 for a calibrated model; a calibrated model need not be a good one.
Reduces to: the second is the total variation between p and q where every entry has a bin of its own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

BINS = 15
# Probabilities below 2^-40 share a bin.
_FINEST = 40
_GAP = "gap/"


def confidence_gaps(
    logits: Float[Array, "*tokens vocabulary"],
    labels: Int[Array, " *tokens"],
    valid: Float[Array, " *tokens"],
) -> dict[str, Float[Array, ""]]:
    """Sums of confidence less correctness in each bin, for a `build_evaluation`; `error_of` makes them one number."""
    confidence = jnp.exp(jnp.max(jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1))
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    place = jnp.clip((confidence * BINS).astype(jnp.int32), 0, BINS - 1)
    gaps = (confidence - right) * valid
    return {f"{_GAP}{index}": jnp.sum(jnp.where(place == index, gaps, 0.0)) for index in range(BINS)}


def error_of(means: dict[str, float], key: str) -> dict[str, float]:
    """The means with the gaps replaced by the expected calibration error under `key`."""
    error = sum(abs(value) for name, value in means.items() if name.startswith(_GAP))
    return {name: value for name, value in means.items() if not name.startswith(_GAP)} | {key: error}


def scores(logits: Float[np.ndarray, "tokens vocabulary"], labels: Int[np.ndarray, " tokens"]) -> dict[str, float]:
    """ "nll" in nats, "accuracy" and "calibration_error" against labels, in float64."""
    exact = logits.astype(np.float64)
    shifted = exact - exact.max(axis=-1, keepdims=True)
    log_q = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    right = (logits.argmax(axis=-1) == labels).astype(np.float64)
    return {
        "nll": float(-log_q[np.arange(len(labels)), labels].mean()),
        "accuracy": float(right.mean()),
        "calibration_error": expected_error(np.exp(log_q.max(axis=-1)), right),
    }


def expected_error(confidence: Float[np.ndarray, " *tokens"], right: Float[np.ndarray, " *tokens"]) -> float:
    """The first form, from every token's confidence and whether it was right (1 or 0)."""
    place = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
    gaps = np.bincount(place.reshape(-1), weights=(confidence - right).reshape(-1), minlength=BINS)
    return float(np.abs(gaps).sum() / confidence.size)


def known_error(p: Float[np.ndarray, "tokens vocabulary"], q: Float[np.ndarray, "tokens vocabulary"]) -> float:
    """The calibration error of q where p is true; rows are distributions."""
    place = np.clip(np.floor(-np.log2(np.maximum(q, 2.0**-_FINEST))).astype(np.int64), 0, _FINEST)
    gaps = np.bincount(place.reshape(-1), weights=(q - p).reshape(-1), minlength=_FINEST + 1)
    return float(np.abs(gaps).sum() / 2 / len(p))
