"""What happens to a change between a client and the server's sum: compression, clipping, noise, secure summation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from models_core.federated.simulation.rule import norm

Params = Any


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The clipping norm follows a quantile. Andrew et al., "Differentially private learning with adaptive clipping".

    C *= exp(-rate (share of unclipped clients - quantile)); count_noise: standard deviation on the number of these.
    """

    quantile: float
    rate: float
    count_noise: float


@dataclass(frozen=True, slots=True)
class Uplink:
    """compress(delta, key): what the client sends. clip: largest norm, 0 for any. noise: standard deviation on the
    sum, as a multiple of clip. denominator: what the sum is divided by when noise is added. modulus_bits,
    fraction_bits: of the secure sum in fixed point; 0 for sums in floating point.
    """

    compress: Callable[[Params, Key[Array, ""]], Params] | None = None
    clip: float = 0.0
    noise: float = 0.0
    denominator: float = 1.0
    adaptive: Adaptive | None = None
    modulus_bits: int = 0
    fraction_bits: int = 16

    def prepare(self, delta: Params, clip: Float[Array, ""], key: Key[Array, ""]) -> tuple[Params, Float[Array, ""]]:
        """What the server may add, and 1 where the client stayed within the norm."""
        if self.compress is not None:
            delta = self.compress(delta, key)
        if self.clip == 0:
            return delta, jnp.ones(())
        length = norm(delta)
        factor = jnp.minimum(1.0, clip / jnp.maximum(length, 1e-30))
        return jax.tree.map(lambda d: d * factor, delta), (length <= clip).astype(jnp.float32)

    def encode(self, weighted: Params) -> Params:
        """A weighted change as integers modulo 2^modulus_bits, or as it is."""
        return encode(weighted, self.modulus_bits, self.fraction_bits) if self.modulus_bits else weighted

    def decode(self, total: Params) -> Params:
        """The inverse of `encode`, of a sum."""
        return decode(total, self.modulus_bits, self.fraction_bits) if self.modulus_bits else total

    def add_noise(self, total: Params, clip: Float[Array, ""], key: Key[Array, ""]) -> Params:
        """Normal noise on every number of the sum."""
        if self.noise == 0:
            return total
        leaves, structure = jax.tree.flatten(total)
        scale = self.noise * clip / self.denominator
        noisy = [
            leaf + scale * jax.random.normal(jax.random.fold_in(key, place), leaf.shape)
            for place, leaf in enumerate(leaves)
        ]
        return jax.tree.unflatten(structure, noisy)

    def next_clip(self, clip: Float[Array, ""], unclipped: Float[Array, ""], key: Key[Array, ""]) -> Float[Array, ""]:
        """The norm of the next step; unclipped: the number of clients within the present one."""
        if self.adaptive is None:
            return clip
        counted = unclipped + self.adaptive.count_noise * jax.random.normal(key)
        share = counted / self.denominator
        return clip * jnp.exp(-self.adaptive.rate * (share - self.adaptive.quantile))


def encode(tree: Params, modulus_bits: int, fraction_bits: int) -> Params:
    """Fixed point, rounded to nearest, modulo 2^modulus_bits, as uint32."""

    def one(leaf: Array) -> Array:
        whole = jnp.round(leaf * 2.0**fraction_bits).astype(jnp.int32)
        residue: Array = jax.lax.bitcast_convert_type(whole, jnp.uint32) & _mask(modulus_bits)
        return residue

    return jax.tree.map(one, tree)


def decode(tree: Params, modulus_bits: int, fraction_bits: int) -> Params:
    """The inverse of `encode`: residues from half the modulus on are negative."""

    def one(leaf: Array) -> Array:
        residue = leaf & _mask(modulus_bits)
        shift = jnp.uint32(32 - modulus_bits)
        signed: Array = jax.lax.bitcast_convert_type(residue << shift, jnp.int32) >> shift.astype(jnp.int32)
        return signed.astype(jnp.float32) / 2.0**fraction_bits

    return jax.tree.map(one, tree)


def overflows(total: Params, modulus_bits: int, fraction_bits: int) -> Float[Array, ""]:
    """How many numbers of a sum lie outside what the modulus can represent."""
    limit = 2.0 ** (modulus_bits - 1 - fraction_bits)
    counts = jax.tree.map(lambda leaf: jnp.sum((jnp.abs(leaf) >= limit).astype(jnp.float32)), total)
    return jnp.sum(jnp.stack(jax.tree.leaves(counts)))


def _mask(modulus_bits: int) -> Array:
    return jnp.asarray(2**modulus_bits - 1, jnp.uint32)
