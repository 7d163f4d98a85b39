"""Secure aggregation, simulated: the server sees a sum modulo 2^k, or nothing.

Source: Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017.

    client i sends  y_i = x_i + sum_{j>i} m_ij - sum_{j<i} m_ij  mod 2^k ,  m_ij known to i and j alone
    sum of y over all = sum of x ;  for a client that dropped out the others reveal their masks with it

The simulation keeps arithmetic and failure modes: fixed point, rounding, overflow of the modulus, and a round that
fails when fewer clients than the threshold remain. Keys are seeds of a generator and shares of secrets are handed out
in the clear: it protects nobody. The engine adds the same fixed-point numbers without masks, which cancel exactly.
Reduces to: the plain sum within clients / 2^(fraction_bits + 1) a number.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt32

from models_core.errors import CoreError


class TooFewClients(CoreError):
    """Fewer clients than the threshold remained: the sum cannot be unmasked."""

    code = "federated.too_few_clients"


class SecureRound:
    """One sum over `clients`, of vectors of `length` numbers; threshold: clients that must remain."""

    def __init__(self, clients: int, length: int, *, threshold: int, modulus_bits: int, fraction_bits: int, seed: int):
        if not 1 <= threshold <= clients:
            raise ValueError(f"a threshold of {threshold} does not fit {clients} clients")
        self._clients, self._length, self._threshold = clients, length, threshold
        self._bits, self._fraction, self._seed = modulus_bits, fraction_bits, seed
        self._modulus = 1 << modulus_bits
        self._received: dict[int, UInt32[np.ndarray, " length"]] = {}

    def masked(self, client: int, values: Float[np.ndarray, " length"]) -> UInt32[np.ndarray, " length"]:
        """What `client` sends: its numbers in fixed point, rounded, under the masks it shares with every other."""
        total = np.round(np.asarray(values, np.float64) * 2**self._fraction).astype(np.int64)
        for other in range(self._clients):
            if other != client:
                sign = 1 if other > client else -1
                total = total + sign * self._mask(client, other)
        masked: UInt32[np.ndarray, " length"] = (total % self._modulus).astype(np.uint32)
        return masked

    def receive(self, client: int, message: UInt32[np.ndarray, " length"]) -> None:
        """The server's part; a client that is never received has dropped out. A message arrives once."""
        if client in self._received:
            raise ValueError(f"client {client} was received already")
        self._received[client] = message

    def unmask(self) -> Float[np.ndarray, " length"]:
        """The sum over those received; raises TooFewClients. Sums past half the modulus wrap around."""
        if len(self._received) < self._threshold:
            raise TooFewClients(
                f"{len(self._received)} clients remain, {self._threshold} are needed to unmask the sum."
            )
        total = np.zeros(self._length, np.int64)
        for client, message in self._received.items():
            total = total + message.astype(np.int64)
            # Masks shared with those who dropped out are revealed by the survivors.
            for gone in set(range(self._clients)) - set(self._received):
                total = total - (1 if gone > client else -1) * self._mask(client, gone)
        residue = total % self._modulus
        signed = np.where(residue >= self._modulus // 2, residue - self._modulus, residue)
        unmasked: Float[np.ndarray, " length"] = signed / 2.0**self._fraction
        return unmasked

    def _mask(self, one: int, other: int) -> np.ndarray:
        low, high = min(one, other), max(one, other)
        stream = np.random.Philox(key=[self._seed, 0], counter=[0, 0, low, high])
        return np.random.Generator(stream).integers(0, self._modulus, self._length, dtype=np.int64)
