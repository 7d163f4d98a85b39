"""Frequencies of the rotary position embedding: one table for every framework, so that they agree to the last bit.

Source: Su et al., "RoFormer", 2021 (arXiv 2104.09864); linear position interpolation: Chen et al., 2023 (arXiv
2306.15595).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frequencies(head_dim: int, base: float, factor: float = 1.0) -> NDArray[np.float32]:
    """base^(-2i / head_dim) / factor for i = 0 .. head_dim/2 - 1, in radians a position.

    head_dim: even. base > 1. factor >= 1 divides positions: position f p turns as p does without it. Rounded to float32
    after every operation, as the published implementations do: the last bit matters at position 100,000.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    return (np.float32(1) / np.float32(base) ** exponents / np.float32(factor)).astype(np.float32)
