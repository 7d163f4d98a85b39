"""Top-k: only the largest numbers of every tensor are sent, with their places.

Source: Aji and Heafield, "Sparse communication for distributed gradient descent", EMNLP 2017.
Deviates: nothing is carried over to a client's next participation (no error feedback); k is per tensor.
Reduces to: no compression at share 1.

>>> Options(share=0.01).upload_bytes([10_000, 10])
808
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from models_core.spec import Spec, field


class Options(Spec, title="Top-k"):
    """The largest numbers and their places."""

    kind: Literal["top_k"] = field("top_k", title="Compression", help="The largest numbers.", section="Communication")
    share: float = field(
        0.1, title="Share", help="Of every tensor's numbers that are sent.", gt=0, le=1, section="Communication"
    )

    def upload_bytes(self, sizes: Sequence[int]) -> int:
        """Four bytes a number and four a place; plain floats where that is less. sizes: of the tensors."""
        return sum(min(8 * _kept(size, self.share), 4 * size) for size in sizes)


def build(options: Options) -> Callable[[Any, Any], Any]:
    """compress(delta, key) -> delta with all but the largest numbers zero; ties are all kept."""
    import jax
    import jax.numpy as jnp

    def one(leaf: Any) -> Any:
        sizes = jnp.abs(leaf).reshape(-1)
        least = jax.lax.top_k(sizes, _kept(leaf.size, options.share))[0][-1]
        return jnp.where(jnp.abs(leaf) >= least, leaf, jnp.zeros_like(leaf))

    return lambda delta, key: jax.tree.map(one, delta)


def _kept(size: int, share: float) -> int:
    return max(1, math.ceil(size * share))
