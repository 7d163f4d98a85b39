"""CIFAR-10, 32x32 colour images from the local binary files: 50,000 for training, 10,000 for testing, 10 classes."""

from __future__ import annotations

from pathlib import Path

from models_core.data._cifar import load_images
from models_core.data._dataset import Images, Source, local_folder

SOURCE = Source(
    title="CIFAR-10, A. Krizhevsky, 2009, binary version",
    origin="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz, md5 c32a1d4ab5d03f1284b67883e8d87530",
    licence="none stated; free for research with citation",
    sha256=None,
)


def load(folder: str | Path | None = None) -> Images:
    """The images, colours 0..255 scaled to [0, 1]; raises DataInvalid. folder: default see `local_folder`."""
    return load_images(
        local_folder("cifar10", folder),
        tuple(f"data_batch_{part}.bin" for part in range(1, 6)),
        "test_batch.bin",
        label_bytes=1,
        classes=10,
    )
