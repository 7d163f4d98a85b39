"""CIFAR-100 as TensorFlow Federated spreads it: 500 training clients of 100 images, 100 test clients, HDF5 files.

The clients are made up: Dirichlet draws over coarse and fine labels (Pachinko allocation, Reddi et al., 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from models_core.data import _hdf5
from models_core.data._dataset import DataInvalid, Source, local_folder

SOURCE = Source(
    title="Federated CIFAR-100 of TensorFlow Federated, after A. Krizhevsky, 2009",
    origin="https://storage.googleapis.com/tff-datasets-public/fed_cifar100.tar.bz2",
    licence="none stated; free for research with citation",
    sha256=None,
)
SIDE, CHANNELS, CLASSES, COARSE = 32, 3, 100, 20
_MOST_IMAGES = 100_000


@dataclass(frozen=True, slots=True)
class Clients:
    """Flat images of all clients: `clients[i]` are the rows of `names[i]`; coarse: superclass of every image."""

    names: tuple[str, ...]
    x: Float32[np.ndarray, "examples pixels"]
    y: Int32[np.ndarray, " examples"]
    coarse: Int32[np.ndarray, " examples"]
    clients: list[np.ndarray]


def load(folder: str | Path | None = None, *, part: str = "train", most_clients: int | None = None) -> Clients:
    """The clients of `part` ("train" or "test"), colours 0..255 scaled to [0, 1]; raises DataInvalid."""
    path = local_folder("federated_cifar100", folder) / f"fed_cifar100_{part}.h5"
    names, xs, ys, coarse = [], [], [], []
    for name, arrays in _hdf5.clients(path, ("image", "label", "coarse_label"), most=most_clients, rows=_MOST_IMAGES):
        image, label, above = (arrays[key] for key in ("image", "label", "coarse_label"))
        flat = all(array.ndim == 1 and array.dtype.kind in "iu" for array in (label, above))
        if image.shape[1:] != (SIDE, SIDE, CHANNELS) or image.dtype != np.uint8 or not flat:
            raise DataInvalid(f"{path.name}: client {name} has images {list(image.shape)} of {image.dtype}.")
        y, group = label[:].astype(np.int64), above[:].astype(np.int64)
        for found, classes in ((y, CLASSES), (group, COARSE)):
            if len(found) and not (found.min() >= 0 and found.max() < classes):
                raise DataInvalid(f"{path.name}: client {name} has labels outside 0 .. {classes - 1}.")
        names.append(name)
        xs.append(image[:].reshape(len(y), -1).astype(np.float32) / np.float32(255))
        ys.append(y.astype(np.int32))
        coarse.append(group.astype(np.int32))
    if not names:
        raise DataInvalid(f"{path} has no clients.")
    ends = np.cumsum([len(y) for y in ys])
    rows = [np.arange(end - len(y), end) for end, y in zip(ends, ys, strict=True)]
    return Clients(tuple(names), np.concatenate(xs), np.concatenate(ys), np.concatenate(coarse), rows)
