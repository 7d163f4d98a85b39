"""A teacher's distribution in k entries a token: four things that are all called "top-k", and one that is unbiased.

Source: Gemma Team, "Gemma 3 technical report", 2025, section 2.2 (k = 256 logits sampled by the teacher's
probabilities, the rest zero and renormalised: `sampled_unique` and `gumbel` are literal readings, `sampled` a fair
one); Anshumann et al., "Sparse logit sampling", 2025 (arXiv 2503.16870) for the bias of all but `sampled`.

    sampled         k draws with replacement from p, weight count / k:  E[weights] = p
    sampled_unique  the ids among those draws, weighed by their own p
    gumbel          k different ids, the largest log p + Gumbel noise (draws without replacement), weighed by p
    top_k           the k largest p, ties to the smaller id

p = softmax(teacher / temperature). The student is always normalised over its whole vocabulary, so mass outside the
support costs. What the entries miss (nothing under `sampled`) is dropped and the rest renormalised ("zero"), spread
evenly over the missing ids ("spread"), or compared as one bucket ("rest"): tail log(tail / student's tail). DistillKit
spreads the student's missing mass as well, which is the same number as one bucket.
Reduces to: forward KL with top_k at k = vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num

from models_core.distill.options import Gumbel, Sampled, SampledUnique, Sparse, TopK
from models_core.errors import SpecInvalid


class SparseTargets(NamedTuple):
    """k slots a token, used ones first and sorted by id; unused slots have id 0.

    values: counts (int32, 0 when unused) under `sampled`, else log p in the asked precision (-inf when unused).
    tail: 1 - sum p of the used slots, in that precision; 0 under `sampled`.
    """

    ids: Int[Array, "*tokens k"]
    values: Num[Array, "*tokens k"]
    tail: Float[Array, " *tokens"]


def draw(
    options: Sparse, key: Key[Array, ""], logits: Float[Array, "tokens vocabulary"], *, temperature: float = 1.0
) -> SparseTargets:
    """Sparse targets of every token. Raises SpecInvalid where k different ids are asked of a smaller vocabulary."""
    vocabulary = logits.shape[-1]
    if options.k > vocabulary and isinstance(options, Gumbel | TopK):
        raise SpecInvalid(
            f"{options.k} different ids cannot be taken from a vocabulary of {vocabulary}.",
            fields={"targets.k": f"Must be at most {vocabulary}."},
        )
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
    match options:
        case Sampled() | SampledUnique():
            ids, counts = _with_replacement(key, log_p, options.k)
            if isinstance(options, Sampled):
                return SparseTargets(ids, counts, jnp.zeros(ids.shape[:-1], jnp.float32))
            used = counts > 0
        case Gumbel():
            _, ids = jax.lax.top_k(log_p + jax.random.gumbel(key, log_p.shape), options.k)
            ids, used = jnp.sort(ids, axis=-1), jnp.ones(ids.shape, bool)
        case _:
            _, ids = jax.lax.top_k(log_p, options.k)
            ids, used = jnp.sort(ids, axis=-1), jnp.ones(ids.shape, bool)
    dtype = jnp.dtype(options.precision)
    kept = jnp.where(used, jnp.take_along_axis(log_p, ids, axis=-1), -jnp.inf)
    tail = jnp.clip(1 - jnp.sum(jnp.exp(kept), axis=-1), 0, 1)
    return SparseTargets(ids, kept.astype(dtype), tail.astype(dtype))


def _with_replacement(
    key: Key[Array, ""], log_p: Float[Array, "tokens vocabulary"], k: int
) -> tuple[Int[Array, "tokens k"], Int[Array, "tokens k"]]:
    """k draws a token by inverting the distribution function: unique ids first, sorted, and how often each came."""
    cumulative = jnp.cumsum(jnp.exp(log_p), axis=-1)
    uniform = jax.random.uniform(key, (log_p.shape[0], k)) * cumulative[:, -1:]
    found = jax.vmap(lambda row, u: jnp.searchsorted(row, u, side="right"))(cumulative, uniform)
    ids = jnp.sort(jnp.minimum(found, log_p.shape[1] - 1).astype(jnp.int32), axis=-1)
    fresh = jnp.concatenate([jnp.ones_like(ids[:, :1], bool), ids[:, 1:] != ids[:, :-1]], axis=-1)
    slot = jnp.cumsum(fresh.astype(jnp.int32), axis=-1) - 1
    rows = jnp.arange(ids.shape[0])[:, None]
    empty = jnp.zeros_like(ids)
    return empty.at[rows, slot].set(ids), empty.at[rows, slot].add(1)


def probabilities(
    options: Sparse, targets: SparseTargets
) -> tuple[Float[Array, "*tokens k"], Float[Array, " *tokens"]]:
    """The weights of the slots and of everything else; together they sum to 1."""
    if isinstance(options, Sampled):
        return targets.values.astype(jnp.float32) / options.k, jnp.zeros(targets.tail.shape, jnp.float32)
    weights = jnp.exp(targets.values.astype(jnp.float32))
    tail = targets.tail.astype(jnp.float32)
    if getattr(options, "missing", "zero") == "zero":
        tail = jnp.zeros_like(tail)
    total = jnp.sum(weights, axis=-1) + tail
    return weights / total[..., None], tail / total


def sparse_tokens(
    options: Sparse,
    targets: SparseTargets,
    student: Float[Array, "tokens vocabulary"],
    *,
    temperature: float = 1.0,
    t_squared: bool = True,
) -> Float[Array, " tokens"]:
    """KL(targets || student) of every token in nats, the student over its whole vocabulary; never negative."""
    scaled = student.astype(jnp.float32) / temperature
    norm = jax.nn.logsumexp(scaled, axis=-1)
    weights, tail = (jax.lax.stop_gradient(x) for x in probabilities(options, targets))
    used = weights > 0
    log_q = jnp.take_along_axis(scaled, targets.ids, axis=-1) - norm[:, None]
    log_w = jnp.log(jnp.where(used, weights, 1.0))
    value = jnp.sum(weights * (log_w - jnp.where(used, log_q, 0.0)), axis=-1)
    missing = getattr(options, "missing", "zero")
    if missing != "zero":
        some = tail > 0
        log_tail = jnp.log(jnp.where(some, tail, 1.0))
        if missing == "rest":
            log_rest = jax.nn.logsumexp(jnp.where(_support(targets.ids, used, scaled), -jnp.inf, scaled), axis=-1)
            term = log_tail - (jnp.where(jnp.isfinite(log_rest), log_rest, norm) - norm)
        else:
            others = jnp.maximum(scaled.shape[-1] - jnp.sum(used, axis=-1), 1).astype(jnp.float32)
            outside = jnp.sum(scaled - norm[:, None], axis=-1) - jnp.sum(jnp.where(used, log_q, 0.0), axis=-1)
            term = log_tail - jnp.log(others) - outside / others
        value = value + jnp.where(some, tail * term, 0.0)
    return value * temperature**2 if t_squared else value


def _support(ids: Array, used: Array, like: Array) -> Array:
    """Which entries of the vocabulary a used slot names."""
    rows = jnp.arange(ids.shape[0])[:, None]
    return jnp.zeros(like.shape, bool).at[rows, ids].max(used)


def dense(options: Sparse, targets: SparseTargets, vocabulary: int) -> Float[Array, "tokens vocabulary"]:
    """The distribution that the student is asked for, written out; mass in a rest bucket is spread evenly."""
    weights, tail = probabilities(options, targets)
    rows = jnp.arange(weights.shape[0])[:, None]
    used = weights > 0
    spread = jnp.zeros((weights.shape[0], vocabulary)).at[rows, targets.ids].add(weights)
    outside = ~_support(targets.ids, used, spread)
    count = jnp.maximum(jnp.sum(outside, axis=-1, keepdims=True), 1).astype(jnp.float32)
    written: Float[Array, "tokens vocabulary"] = spread + jnp.where(outside, tail[:, None] / count, 0.0)
    return written
