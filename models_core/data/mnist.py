"""MNIST, 28x28 pixels: 60,000 handwritten digits for training, 10,000 for testing, from local IDX files."""

from __future__ import annotations

from pathlib import Path

from models_core.data._dataset import Images, Source, local_folder
from models_core.data._idx import load_images

SOURCE = Source(
    title="MNIST handwritten digits, Y. LeCun, C. Cortes and C. Burges, 1998",
    origin="http://yann.lecun.com/exdb/mnist/ (mirror https://ossci-datasets.s3.amazonaws.com/mnist/)",
    licence="CC BY-SA 3.0",
    sha256=None,
)
# Published md5 of the packed files, for whoever downloads them.
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def load(folder: str | Path | None = None) -> Images:
    """The images, grey 0..255 scaled to [0, 1]; raises DataInvalid. folder: default see `local_folder`."""
    return load_images(local_folder("mnist", folder), FILES, (None,) * 4)
