"""The order in which training examples are visited: a function of (seed, step), so that a resumed run sees the same."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32


class BatchOrder:
    """Batches without replacement; every epoch has a permutation of its own, its last partial batch is dropped.

    shuffled: false for the order in which the examples lie.
    """

    def __init__(self, seed: int, examples: int, batch_size: int, *, shuffled: bool = True) -> None:
        if not 0 < batch_size <= examples:
            raise ValueError(f"a batch of {batch_size} cannot be drawn from {examples} examples")
        self._seed, self._examples, self._batch_size = seed, examples, batch_size
        self._epoch: int | None = -1 if shuffled else None
        self._permutation = np.arange(0 if shuffled else examples, dtype=np.int32)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self._examples // self._batch_size

    def at(self, step: int) -> Int32[np.ndarray, " batch"]:
        """The examples of step `step`, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._epoch is not None and epoch != self._epoch:
            generator = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
            self._permutation = generator.permutation(self._examples).astype(np.int32)
            self._epoch = epoch
        return self._permutation[position * self._batch_size : (position + 1) * self._batch_size]
