"""CIFAR-100, 32x32 colour images from the local binary files: 50,000 for training, 10,000 for testing, 100 classes."""

from __future__ import annotations

from pathlib import Path

from models_core.data._cifar import load_images
from models_core.data._dataset import Images, Source, local_folder

SOURCE = Source(
    title="CIFAR-100, A. Krizhevsky, 2009, binary version",
    origin="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz, md5 03b5dce01913d631647c71ecec9e9cb8",
    licence="none stated; free for research with citation",
    sha256=None,
)


def load(folder: str | Path | None = None) -> Images:
    """The images, colours 0..255 scaled to [0, 1]; raises DataInvalid. The coarse labels are skipped.

    folder: default see `local_folder`.
    """
    return load_images(local_folder("cifar100", folder), ("train.bin",), "test.bin", label_bytes=2, classes=100)
