"""Stochastic quantisation: every number becomes one of 2^bits - 1 levels between plus and minus the tensor's largest.

Source: Alistarh et al., "QSGD: communication-efficient SGD via gradient quantization and encoding", NeurIPS 2017, with
the largest absolute value in place of the norm. Rounding up or down is random, so that the expectation is exact.
Reduces to: no compression as bits grow.

>>> Options(bits=4).upload_bytes([100])
54
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from models_core.spec import Spec, field


class Options(Spec, title="Quantised"):
    """A few bits a number."""

    kind: Literal["quantised"] = field(
        "quantised", title="Compression", help="A few bits a number.", section="Communication"
    )
    bits: int = field(
        8, title="Bits", help="A number, sign included.", unit="bits", ge=2, le=16, section="Communication"
    )

    def upload_bytes(self, sizes: Sequence[int]) -> int:
        """Whole bytes of every tensor and its scale. sizes: of the tensors."""
        return sum(-(-size * self.bits // 8) + 4 for size in sizes)


def build(options: Options) -> Callable[[Any, Any], Any]:
    """compress(delta, key) -> delta on its levels."""
    import jax
    import jax.numpy as jnp

    levels = 2.0 ** (options.bits - 1) - 1

    def one(leaf: Any, key: Any) -> Any:
        largest = jnp.max(jnp.abs(leaf))
        step = jnp.where(largest > 0, largest / levels, 1.0)
        return jnp.floor(leaf / step + jax.random.uniform(key, leaf.shape)) * step

    def compress(delta: Any, key: Any) -> Any:
        leaves, structure = jax.tree.flatten(delta)
        done = [one(leaf, jax.random.fold_in(key, place)) for place, leaf in enumerate(leaves)]
        return jax.tree.unflatten(structure, done)

    return compress
