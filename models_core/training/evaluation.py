"""Means over a whole data set, in batches of one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def build_evaluation(
    sums_fn: Callable[..., tuple[dict[str, jax.Array], jax.Array]], batch_size: int
) -> Callable[..., dict[str, float]]:
    """`evaluate(params, *arrays) -> means`, where arrays share their first axis.

    sums_fn(params, *batch, valid) returns sums over the examples where `valid` is 1, and the count they are to be
    divided by. The last batch is padded with its first example, marked invalid, so that one compilation serves all.
    """
    sums = jax.jit(sums_fn)

    def evaluate(params: Any, *arrays: np.ndarray) -> dict[str, float]:
        examples = len(arrays[0])
        totals: dict[str, float] = {}
        count = 0.0
        for start in range(0, examples, batch_size):
            rows = np.arange(start, start + batch_size)
            valid = (rows < examples).astype(np.float32)
            rows = np.where(rows < examples, rows, start)
            values, counted = sums(params, *(jnp.asarray(array[rows]) for array in arrays), jnp.asarray(valid))
            for key, value in values.items():
                totals[key] = totals.get(key, 0.0) + float(value)
            count += float(counted)
        return {key: value / count for key, value in totals.items()}

    return evaluate
