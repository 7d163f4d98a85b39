"""A source whose every next-symbol probability is known: a synthetic Markov chain of order 2.

    logits(. | a, b) = spread U[ab] W / sqrt(rank) + s[ab] G[ab];   p = softmax;   s[ab] uniform in 0 .. roughness

The first part is of low rank and can be learnt by a small model, the second belongs to one context alone and cannot:
contexts with a large s are those on which a small model errs. Contexts come with the chain's own frequencies.
Synthetic: made for experiments in which bias and variance have to be exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

SPREAD = 2.0


class MarkovSource(NamedTuple):
    """p: next-symbol probabilities of context a * symbols + b. frequency: of the contexts; sums to 1."""

    p: Float[np.ndarray, "contexts symbols"]
    frequency: Float[np.ndarray, " contexts"]


def markov_source(seed: int, *, symbols: int, rank: int, roughness: float) -> MarkovSource:
    """The chain of a seed; symbols >= 2, rank >= 1, roughness >= 0 (0: all of it is of that rank)."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    contexts = symbols**2
    shared = generator.normal(size=(contexts, rank)) @ generator.normal(size=(rank, symbols)) * SPREAD / rank**0.5
    own = generator.uniform(0, roughness, (contexts, 1)) * generator.normal(size=(contexts, symbols))
    e = np.exp(shared + own - (shared + own).max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return MarkovSource(p, stationary(p))


def stationary(p: Float[np.ndarray, "contexts symbols"]) -> Float[np.ndarray, " contexts"]:
    """How often each context comes in a long text: from (a, b) the chain goes to (b, c) with probability p[ab, c]."""
    symbols = p.shape[1]
    cube = p.reshape(symbols, symbols, symbols)
    frequency = np.full((symbols, symbols), symbols**-2.0)
    # Every probability is positive, so the iteration contracts; a thousand steps are far more than it takes.
    for _ in range(1000):
        following = np.einsum("ab,abc->bc", frequency, cube)
        if np.abs(following - frequency).max() < 1e-15:
            break
        frequency = following
    flat: np.ndarray = frequency.reshape(-1) / frequency.sum()
    return flat


class Decomposition(NamedTuple):
    """Of many students' log-probabilities, each by context, in nats squared; excess in nats.

    excess: mean KL(p || q). bias_squared: sum p (mean log q - log p)^2. variance: sum p var(log q).
    """

    excess: Float[np.ndarray, " contexts"]
    bias_squared: Float[np.ndarray, " contexts"]
    variance: Float[np.ndarray, " contexts"]


def decompose(
    p: Float[np.ndarray, "contexts symbols"], log_q: Float[np.ndarray, "students contexts symbols"]
) -> Decomposition:
    """Bias and variance over the students, each context by itself.

    bias_squared + variance = mean over the students of sum p (log q - log p)^2, exactly.
    """
    log_p, mean = np.log(p), log_q.mean(axis=0)
    excess = (p * (log_p - mean)).sum(axis=1)
    return Decomposition(
        excess, (p * (mean - log_p) ** 2).sum(axis=1), (p * ((log_q - mean) ** 2).mean(axis=0)).sum(axis=1)
    )


def deciles(values: Float[np.ndarray, " contexts"]) -> list[np.ndarray]:
    """Contexts in ten groups of equal number by rising value, ties by index; each an array of context numbers."""
    return np.array_split(np.argsort(values, kind="stable"), 10)
