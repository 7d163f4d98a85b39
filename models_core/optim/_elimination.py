"""Gaussian elimination in all windows of a banded matrix at once, for any array library.

Window j holds H over j .. j+band. Arrays run along the chain: entry j + i lies `stride` i places after entry j, so that
a window is a set of shifted slices and every operation works on whole vectors. What is needed of a window is the
predictor of entry j from its upper neighbours, psi = H[I,I]^-1 H[I,j]. Its last coefficient needs elimination of the
neighbours between, the others follow from it: each is one elementwise expression of few terms, which compilers fuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def coefficient(
    a: Any,
    edges: Sequence[Any],
    farther: Mapping[int, Any],
    place: int,
    length: int,
    stride: int,
    *,
    unsound: Callable[[Any], Any],
    less: Callable[[Any, Any, Any], Any],
) -> Any:
    """psi's coefficient on neighbour `place` (1..band) for the first `length` windows.

    a, edges: vectors of at least length + band * stride entries, the diagonal and H[j, j+k] for k = 1..band.
    farther: the coefficients on the neighbours beyond `place`. unsound(d): d where positive, else NaN, which then is
    the coefficient. less(x, y, z): x - y z.
    """
    band = len(edges)

    def entry(i: int, k: int) -> Any:
        start = i * stride
        return (a if i == k else edges[k - i - 1])[start : start + length]

    # Rows 0 and 1..place of the window; row 0 is needed up to column `place`, the others over the whole band.
    row0 = {k: entry(0, k) for k in range(1, place + 1)}
    rows = {i: {k: entry(i, k) for k in range(i, band + 1)} for i in range(1, place + 1)}
    for p in range(1, place):
        inverse = 1 / unsound(rows[p][p])
        share = row0[p] * inverse
        for k in range(p + 1, place + 1):
            row0[k] = less(row0[k], share, rows[p][k])
        for i in range(p + 1, place + 1):
            share = rows[p][i] * inverse
            for k in range(i, band + 1):
                rows[i][k] = less(rows[i][k], share, rows[p][k])
    numerator = row0[place]
    for k in range(place + 1, band + 1):
        numerator = less(numerator, farther[k], rows[place][k])
    return numerator / unsound(rows[place][place])


def predictors(
    a: Any,
    edges: Sequence[Any],
    length: int,
    stride: int,
    *,
    unsound: Callable[[Any], Any],
    less: Callable[[Any, Any, Any], Any],
) -> dict[int, Any]:
    """All coefficients at once, by neighbour: one elimination for all of them, for libraries that fuse nothing."""
    band = len(edges)
    rows = {
        i: {
            k: (a if i == k else edges[k - i - 1])[i * stride : i * stride + length] for k in range(max(i, 1), band + 1)
        }
        for i in range(band + 1)
    }
    for p in range(1, band + 1):
        rows[p][p] = unsound(rows[p][p])
        for i in (0, *range(p + 1, band + 1)):
            later = range(max(i, p + 1), band + 1)
            if later:
                share = rows[0 if i == 0 else p][p if i == 0 else i] / rows[p][p]
            for k in later:
                rows[i][k] = less(rows[i][k], share, rows[p][k])
    psi: dict[int, Any] = {}
    for p in range(band, 0, -1):
        numerator = rows[0][p]
        for k in range(p + 1, band + 1):
            numerator = less(numerator, psi[k], rows[p][k])
        psi[p] = numerator / rows[p][p]
    return psi


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
