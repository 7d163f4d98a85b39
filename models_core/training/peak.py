"""How many operations a second the device does at best: what utilisation is a share of."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

_SIZE = 1024
_TRIES = 3


def measure_peak(dtype: str) -> float:
    """Operations a second of a product of two 1024x1024 matrices in `dtype`, the best of three, on one device.

    A long chain of products on an accelerator would give more; a published peak can be given to the recipe instead.
    """
    x = jnp.ones((_SIZE, _SIZE), dtype)
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    best = float("inf")
    for _ in range(_TRIES):
        begin = time.perf_counter()
        product(x).block_until_ready()
        best = min(best, time.perf_counter() - begin)
    return 2 * _SIZE**3 / best
