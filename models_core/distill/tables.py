"""Tables of logits of low rank, and the texts of a known source that they learn from: drawn by JAX for any framework.

log q(. | context) = log_softmax(contexts[context] symbols + bias)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from models_core.distill.known_source import MarkovSource


def init(key: Key[Array, ""], contexts: int, symbols: int, rank: int) -> dict[str, Float[Array, ...]]:
    """A fresh table: "contexts" (contexts, rank), "symbols" (rank, symbols), "bias" (symbols,)."""
    left, right = jax.random.split(key)
    return {
        "contexts": jax.random.normal(left, (contexts, rank)) * 0.1,
        "symbols": jax.random.normal(right, (rank, symbols)) * rank**-0.5,
        "bias": jnp.zeros(symbols),
    }


class Texts:
    """What each of many learners reads, batch by batch; a function of the key, the learner and the step.

    Contexts come as often as in a long text of the source and far apart, so that tokens are independent.
    """

    def __init__(self, source: MarkovSource, keys: Key[Array, " learners"], batch_size: int) -> None:
        log_p, log_frequency = (jnp.asarray(np.log(part), jnp.float32) for part in (source.p, source.frequency))

        def one(key: Any, step: Any) -> tuple[Any, Any]:
            first, second = jax.random.split(jax.random.fold_in(key, step))
            chosen = jax.random.categorical(first, log_frequency, shape=(batch_size,))
            return chosen, jax.random.categorical(second, log_p[chosen])

        self._keys, self._drawn = keys, jax.jit(jax.vmap(one, in_axes=(0, None)))

    def batch(self, step: int) -> tuple[Int[np.ndarray, "learners batch"], Int[np.ndarray, "learners batch"]]:
        """Numbers of contexts, and the symbol that followed each."""
        contexts, came = self._drawn(self._keys, np.int32(step))
        return np.asarray(contexts), np.asarray(came)
