"""How Kronecker-factored methods see a tensor: small axes merged, long axes cut into blocks. Pure shapes, no arrays."""

from __future__ import annotations

import itertools
import math


def merged(shape: tuple[int, ...], limit: int = 1) -> tuple[int, ...]:
    """Neighbouring axes joined while their product stays within `limit`; unit axes always go.

    A lone number is a vector of one. limit: 1 joins nothing but units. Entries stay where they lie in memory, so that
    a reshape does it. Source: the published Shampoo and Sketchy codes merge in this greedy order.

    >>> merged((3, 1, 2, 5), 6), merged((), 6), merged((30, 1, 20))
    ((6, 5), (1,), (30, 20))
    """
    found: list[int] = []
    product = 1
    for d in shape:
        if product * d <= limit:
            product *= d
            continue
        if product > 1:
            found.append(product)
        product = d
    if product > 1:
        found.append(product)
    return tuple(found) or (math.prod(shape),)


def cuts(shape: tuple[int, ...], size: int) -> list[tuple[slice, ...]]:
    """The blocks of a tensor, each axis cut every `size` entries; 0 cuts nothing. The last block may be smaller.

    >>> [tuple((s.start, s.stop) for s in block) for block in cuts((5, 2), 3)]
    [((0, 3), (0, 2)), ((3, 5), (0, 2))]
    """
    axes = [
        [slice(start, min(start + (size or d), d)) for start in range(0, d, size or d)] if d else [slice(0, 0)]
        for d in shape
    ]
    return list(itertools.product(*axes))


def assembled(shape: tuple[int, ...], size: int) -> list[int]:
    """How many blocks lie along each axis.

    >>> assembled((5, 2), 3)
    [2, 1]
    """
    return [max(1, math.ceil(d / (size or d or 1))) for d in shape]
