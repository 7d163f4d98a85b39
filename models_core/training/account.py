"""A sum of losses in float64, on the host."""

from __future__ import annotations

from typing import Any

# Scalars that may wait on the device: each costs some hundred bytes there.
MOST_WAITING = 1000


class Account:
    """Adding does not wait for the device; reading the total does. weight: of each loss."""

    def __init__(self, total: float = 0.0, weight: float = 1.0) -> None:
        self._total, self._weight = total, weight
        self._waiting: list[Any] = []

    def add(self, loss: Any) -> None:
        """One more loss, a scalar of any framework."""
        self._waiting.append(loss)
        if len(self._waiting) >= MOST_WAITING:
            self._settle()

    @property
    def total(self) -> float:
        """All of them."""
        self._settle()
        return self._total

    def _settle(self) -> None:
        for loss in self._waiting:
            self._total += float(loss) * self._weight
        self._waiting.clear()
