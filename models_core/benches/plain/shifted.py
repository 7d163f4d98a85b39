"""Batches of images that are moved a little, the same ones for either framework."""

from __future__ import annotations

import jax
import numpy as np

from models_core.data._dataset import Images


class ShiftedImages:
    """Training images, each moved by a random whole number of pixels, at most `shift`; what comes in is black.

    seed, stream: every batch is a function of these and of its index.
    """

    def __init__(self, images: Images, shift: int, *, seed: int, stream: int) -> None:
        self._images, self._shift = images, shift
        edge = (shift, shift)
        self._padded = np.pad(images.train_x.reshape(-1, *images.shape), ((0, 0), edge, edge, (0, 0)))
        key = jax.random.fold_in(jax.random.key(seed), stream)

        def places(index: jax.Array, rows: int) -> jax.Array:
            return jax.random.randint(jax.random.fold_in(key, index), (rows, 2), 0, 2 * shift + 1)

        self._places = jax.jit(places, static_argnums=1)

    def batch(self, rows: np.ndarray, index: int) -> dict[str, np.ndarray]:
        """Images "x" (batch, height, width, channels) in 0 .. 1 and labels "y" (batch,) of update `index`."""
        height, width, _ = self._images.shape
        places = np.zeros((len(rows), 2), np.int32)
        if self._shift:
            places = np.asarray(self._places(np.int32(index), len(rows)))
        down, right = places[:, :1] + np.arange(height), places[:, 1:] + np.arange(width)
        seen = self._padded[rows[:, None, None], down[:, :, None], right[:, None, :]]
        return {"x": seen, "y": self._images.train_y[rows]}
