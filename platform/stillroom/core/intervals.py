"""Means with their uncertainty: the 95 % Student t interval over independent seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over `n` values and the half width of its 95 % interval (None when n is 1)."""

    mean: float
    half_width: float | None
    n: int

    @property
    def low(self) -> float:
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        return self.mean + (self.half_width or 0.0)


def t95(degrees: int) -> float:
    """The 97.5 % quantile of Student's t; beyond 30 degrees by Cornish and Fisher's expansion (error below 1e-5)."""
    if degrees < 1:
        raise ValueError("degrees of freedom must be at least 1")
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    z, n = _Z95, float(degrees)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def interval(values: Sequence[float]) -> Interval:
    """Mean and interval of finite values; raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Interval(mean, t95(n - 1) * math.sqrt(variance / n), n)
