"""`training.peak` for PyTorch."""

from __future__ import annotations

import time

import torch

_SIZE = 1024
_TRIES = 3


def measure_peak(dtype: str) -> float:
    """Operations a second of a product of two 1024x1024 matrices in `dtype`, the best of three."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.ones(_SIZE, _SIZE, dtype=getattr(torch, dtype), device=device)
    best = float("inf")
    for _ in range(_TRIES + 1):
        begin = time.perf_counter()
        # Reading a number waits for the device.
        float((x @ x)[0, 0])
        best = min(best, time.perf_counter() - begin)
    return 2 * _SIZE**3 / best
