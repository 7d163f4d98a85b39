"""Random signs that are a function of (seed, step, tensor, entry): the same in both frameworks and after a resume.

Every 32 entries of a tensor share one word of 32 random bits, and a word is a hash of its number and of a key. The hash
multiplies and shifts, modulo 2^32; its factors, which Wellons found by search ("Prospecting for hash functions",
2018), are below 2^31, so that arithmetic in 64 signed bits, which is what PyTorch has, does not overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax import Array

BITS = 32
MASK = 0xFFFFFFFF
_FACTORS = (0x7FEB352D, 0x21F0AAAD)
# So that a key of zeros is not a fixed point: 2^32 times the golden ratio's fraction, doubled, modulo 2^32.
_STEP = 0x3C6EF372


def words(seed: Any, step: Any, place: Any, numbers: Any, keep: Callable[[Any], Any]) -> Any:
    """The words of these numbers: whole numbers, or arrays of them, from 0 to 2^32 - 1.

    place: the tensor's number. keep: takes a whole number modulo 2^32, the identity where arithmetic does it.

    >>> [hex(words(0, 1, 2, number, lambda x: x & MASK)) for number in range(2)]
    ['0x941b4f27', '0x45e95827']
    """

    def mixed(x: Any) -> Any:
        x = keep(x + _STEP)
        x = x ^ (x >> 16)
        x = keep(x * _FACTORS[0])
        x = x ^ (x >> 15)
        x = keep(x * _FACTORS[1])
        return x ^ (x >> 15)

    key = mixed(mixed(mixed(seed) ^ step) ^ place)
    # Once more, with the key added: the words of one key are then no permutation of another's.
    return mixed(keep(mixed(numbers ^ key) + key))


def places(names: Sequence[str]) -> list[int]:
    """The number of each dotted name among the leaves of a tree with these paths, in the order of jax.tree.

    >>> places(["1.kernel", "1.bias", "0.kernel", "10.kernel"])
    [2, 1, 0, 3]
    """

    def path(index: int) -> list[tuple[int, str]]:
        parts = names[index].split(".")
        # Indices of a list by their value, keys of a dictionary as text.
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]

    ranks = [0] * len(names)
    for rank, index in enumerate(sorted(range(len(names)), key=path)):
        ranks[index] = rank
    return ranks


def signs(seed: int, step: Array, place: int, like: Array) -> Array:
    """1 or -1 for every entry of `like`, in its dtype. seed: 0 to 2^31 - 1. step: a whole number."""
    import jax.numpy as jnp

    count = math.prod(like.shape)
    numbers = jnp.arange(-(-count // BITS), dtype=jnp.uint32)
    made = words(jnp.uint32(seed), step.astype(jnp.uint32), jnp.uint32(place), numbers, lambda x: x)
    bits = (made[:, None] >> jnp.arange(BITS, dtype=jnp.uint32)[None]) & 1
    drawn: Array = (1 - 2 * bits.reshape(-1)[:count].astype(jnp.int32)).reshape(like.shape).astype(like.dtype)
    return drawn
