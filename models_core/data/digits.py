"""Handwritten digits, 8x8 pixels: 1,437 for training, 360 for testing. Real images, no writer ids."""

from __future__ import annotations

import gzip
import io

import numpy as np

from models_core.data._dataset import Images, Source, read_packaged, split_images

SOURCE = Source(
    title="Optical recognition of handwritten digits (test part), E. Alpaydin and C. Kaynak, UCI, 1998",
    origin="scikit-learn's wheel, sklearn/datasets/data/digits.csv.gz",
    licence="CC BY 4.0",
    sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
)
TESTS = 360


def load() -> Images:
    """The images, grey 0..16 scaled to [0, 1]; raises DataInvalid."""
    content = read_packaged("sklearn", ("datasets", "data", "digits.csv.gz"), SOURCE.sha256 or "")
    table = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",")
    return split_images(table[:, :-1] / 16, table[:, -1], side=8, tests=TESTS)
