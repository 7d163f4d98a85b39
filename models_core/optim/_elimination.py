"""All windows of a banded matrix solved at once, for any array library.

Window j holds H over j .. j+band. Arrays run along the chain: entry j + i lies `stride` i places after entry j, so that
a window is a set of shifted slices and every operation works on whole vectors. What is needed of a window is the
predictor of entry j from its upper neighbours, psi = H[I,I]^-1 H[I,j], and the variance c that it leaves.

Elimination inside of each window takes O(band^3) for each entry and number asked for. All it reads is slices, so that a
compiler keeps everything between in registers and passes over memory once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Window = dict[tuple[int, int], Any]
Check = Callable[[Any], Any]


def windows(a: Any, edges: Sequence[Any], start: int, length: int, stride: int, ridge: Any = 0.0) -> Window:
    """The upper triangles of `length` windows, the first one that of entry `start`; a is the diagonal without ridge."""
    band = len(edges)
    found: Window = {}
    for i in range(band + 1):
        for k in range(band + 1 - i):
            place = start + i * stride
            part = (a if k == 0 else edges[k - 1])[place : place + length]
            found[i, i + k] = part + ridge if k == 0 else part
    return found


def coefficient(window: Window, k: int, sound: Check) -> Any:
    """psi of neighbour k: what couples it to entry 0 once all others are eliminated.

    sound(d): d where positive, else NaN, which every coefficient that needs it then is.
    """
    h = dict(window)
    for p in range(max(j for _, j in h), 0, -1):
        if p != k:
            _eliminate(h, p, sound)
    return h[0, k] / sound(h[k, k])


def solution(window: Window, right: Sequence[Any], sound: Check) -> tuple[Any, Any]:
    """c, and entry 0 of `right` (one vector for each entry of the window) less psi times the others."""
    h, right = dict(window), list(right)
    for p in range(len(right) - 1, 0, -1):
        for i, share in _eliminate(h, p, sound).items():
            right[i] = right[i] - share * right[p]
    return h[0, 0], right[0]


def _eliminate(h: Window, p: int, sound: Check) -> dict[int, Any]:
    """Take entry p out of `h`; what each entry that is left has of it."""
    inverse = 1 / sound(h.pop((p, p)))
    coupled = {i if j == p else j: h.pop((i, j)) for i, j in list(h) if p in (i, j)}
    shares = {i: coupling * inverse for i, coupling in coupled.items()}
    for i, j in h:
        h[i, j] = h[i, j] - shares[i] * coupled[j]
    return shares


def survivors(good: Any, rule: str, band: int, length: int, stride: int) -> list[Any]:
    """For k = 1..band, whether edge (j, j+k) survives the removal of edges around entries that are not good."""

    def at(i: int) -> Any:
        return good[i * stride : i * stride + length]

    kept, found = at(0), []
    for k in range(1, band + 1):
        if rule == "isolate":
            found.append(at(0) & at(k))
        else:
            # None of j .. j + k - 1 may be bad.
            kept = kept if k == 1 else kept & at(k - 1)
            found.append(kept)
    return found
