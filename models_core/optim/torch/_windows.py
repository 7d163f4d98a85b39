"""All windows of a banded matrix solved at once in PyTorch, where every operation leaves its result in memory.

Windows grow by one entry at a time, each from the two of one entry less inside it, with the predictors of both of its
ends: the recursion of Levinson (1946) for matrices that are not Toeplitz (Friedlander, Morf, Kailath and Ljung, 1979).
O(band^2) operations for each entry, where `models_core.optim._elimination` takes O(band^4) but needs a compiler.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class _Level(NamedTuple):
    """Views for the step from windows of k neighbours to k + 1: results, and of the level before what they need.

    `before` and `after` are the variances that windows leave to their first and last entries, None at the start.
    """

    delta: Tensor
    forward: list[Tensor]
    backward: list[Tensor]
    ahead: Tensor
    behind: Tensor
    shares: list[Tensor]
    shifted: list[Tensor]
    before: Tensor | None
    after: Tensor | None


class Recursion:
    """psi, by neighbour 1..band, and c of `length` windows, in memory that the next call overwrites.

    diagonal: room for a caller's length + 2 band entries; y: for `length` of them.
    """

    def __init__(self, band: int, length: int, rooms: list[Tensor]) -> None:
        self.band = band
        self.diagonal, self.y = rooms[0][: length + 2 * band], rooms[1][:length]
        # Two sets in turn, the old one and the new one, each of predictors and variances of both ends.
        each = 2 * band + 2
        sets = [rooms[3 + i * each : 3 + (i + 1) * each] for i in range(2)]
        # Views take longer to make than to use, so they are made once.
        self._levels = []
        for k in range(band):
            total = length + band - 1 - k
            new, old = sets[k % 2], sets[1 - k % 2]
            self._levels.append(
                _Level(
                    delta=rooms[2][:total],
                    forward=[x[:total] for x in new[: k + 1]],
                    backward=[x[:total] for x in new[band : band + k + 1]],
                    ahead=new[-2][:total],
                    behind=new[-1][:total],
                    shares=[x[:total] for x in old[:k]],
                    shifted=[x[1 : 1 + total] for x in old[band : band + k]],
                    before=old[-2][:total] if k else None,
                    after=old[-1][1 : 1 + total] if k else None,
                )
            )

    @staticmethod
    def rooms(band: int) -> int:
        """How many vectors of length + 2 band entries it needs."""
        return 4 * band + 7

    def __call__(self, a: Tensor, edges: list[Tensor], *, checked: bool = False) -> tuple[dict[int, Tensor], Tensor]:
        """a, edges: vectors of at least length + band entries, the diagonal and H[j, j+k] for k = 1..band.

        checked: everything that needs a variance that is not positive is NaN; otherwise see `pivots`.
        """
        for k, level in enumerate(self._levels):
            total = len(level.delta)
            before = a[:total] if level.before is None else level.before
            after = a[1 : 1 + total] if level.after is None else level.after
            # Windows j .. j+k+1: of the entry before them from their others, and of the entry after them.
            delta = edges[k][:total]
            for i, share in enumerate(level.shares, start=1):
                coupling = edges[k - i][i : i + total]
                delta = torch.addcmul(delta, share, coupling, value=-1, out=level.delta)
            rho = torch.div(delta, _positive(after) if checked else after, out=level.forward[k])
            for x, y, found in zip(level.shares, level.shifted, level.forward, strict=False):
                torch.addcmul(x, rho, y, value=-1, out=found)
            torch.addcmul(before, rho, delta, value=-1, out=level.ahead)
            if k + 1 == self.band:
                break
            tau = torch.div(delta, _positive(before) if checked else before, out=level.backward[0])
            for x, y, found in zip(level.shares, level.shifted, level.backward[1:], strict=True):
                torch.addcmul(y, tau, x, value=-1, out=found)
            torch.addcmul(after, tau, delta, value=-1, out=level.behind)
        last = self._levels[-1]
        return dict(enumerate(last.forward, start=1)), last.ahead

    def pivots(self) -> list[Tensor]:
        """What has to be positive beside c and a.

        Variances of entries before their windows only fall to c, so that those of entries after them are left.
        """
        return [level.behind for level in self._levels[:-1]]


class Workspace:
    """Memory for recursions, kept between calls: fresh pages would cost more than the arithmetic on them."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._like = torch.empty(0, dtype=dtype, device=device)
        self._rooms: list[Tensor] = []
        self._recursions: dict[tuple[int, int], Recursion] = {}

    def recursion(self, band: int, length: int) -> Recursion:
        """The recursion for `length` windows of `band` neighbours."""
        size, count = length + 2 * band, Recursion.rooms(band)
        if not self._rooms or len(self._rooms[0]) < size or len(self._rooms) < count:
            size = max(size, *(len(room) for room in self._rooms), 0)
            # Recursions made before would keep the memory that this replaces.
            self._recursions = {}
            self._rooms = [self._like.new_empty(size) for _ in range(max(count, len(self._rooms)))]
        if (band, length) not in self._recursions:
            self._recursions[band, length] = Recursion(band, length, self._rooms)
        return self._recursions[band, length]


def _positive(d: Tensor) -> Tensor:
    return torch.where(d > 0, d, math.nan)
