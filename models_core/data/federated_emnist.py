"""Federated EMNIST: handwriting of 3,383 (digits) or 3,400 (62 classes) writers, from local HDF5 files.

A client is a real writer. Pixels are as published: background 1, ink 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from models_core.data._dataset import DataInvalid, Source, local_folder

SOURCE = Source(
    title="Federated EMNIST of TensorFlow Federated, after S. Caldas et al., LEAF, 2018 (NIST Special Database 19)",
    origin="https://storage.googleapis.com/tff-datasets-public/fed_emnist.tar.bz2",
    licence="public domain (work of the US government)",
    sha256=None,
)
SIDE = 28
# The largest writer of the published files has 526 images.
_MOST_IMAGES = 100_000


@dataclass(frozen=True, slots=True)
class Writers:
    """Flat images of all writers, one after the other: `clients[i]` are the rows of writer `names[i]`."""

    names: tuple[str, ...]
    x: Float32[np.ndarray, "examples pixels"]
    y: Int32[np.ndarray, " examples"]
    clients: list[np.ndarray]
    classes: int


def load(
    folder: str | Path | None = None, *, part: str = "train", digits_only: bool = False, most_clients: int | None = None
) -> Writers:
    """The writers of `part` ("train" or "test") in the order of their names, the first `most_clients` of them.

    Raises DataInvalid when h5py is missing or the file is not of this format.
    """
    classes = 10 if digits_only else 62
    found = local_folder("federated_emnist", folder)
    path = found / f"fed_emnist_{'digitsonly_' if digits_only else ''}{part}.h5"
    try:
        import h5py
    except ImportError:
        raise DataInvalid("Federated EMNIST is read with h5py, which is not installed.") from None
    names, xs, ys = [], [], []
    try:
        with h5py.File(path, "r") as file:
            examples = file["examples"]
            for name in sorted(examples)[:most_clients]:
                x, y = _client(examples[name], f"{path.name}: client {name}", h5py.Dataset, classes)
                names.append(str(name))
                xs.append(x)
                ys.append(y)
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise DataInvalid(f"{path} cannot be read as federated EMNIST: {error}") from None
    if not names:
        raise DataInvalid(f"{path} has no clients.")
    ends = np.cumsum([len(y) for y in ys])
    clients = [np.arange(end - len(y), end) for end, y in zip(ends, ys, strict=True)]
    return Writers(tuple(names), np.concatenate(xs), np.concatenate(ys), clients, classes)


def _client(group: Any, where: str, dataset_type: Any, classes: int) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = (group[key] for key in ("pixels", "label"))
    if not (isinstance(pixels, dataset_type) and isinstance(labels, dataset_type)):
        raise DataInvalid(f"{where} has no arrays pixels and label.")
    shape = tuple(pixels.shape)
    # Before anything is read: a chunked file of a few bytes can announce terabytes.
    if len(shape) != 3 or shape[1:] != (SIDE, SIDE) or tuple(labels.shape) != shape[:1] or shape[0] > _MOST_IMAGES:
        raise DataInvalid(f"{where} has pixels {list(shape)} and labels {list(labels.shape)}.")
    if pixels.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise DataInvalid(f"{where} has pixels of {pixels.dtype} and labels of {labels.dtype}.")
    x, y = pixels[:].astype(np.float32).reshape(shape[0], SIDE * SIDE), labels[:].astype(np.int32)
    if shape[0] and not (x.min() >= 0 and x.max() <= 1):
        raise DataInvalid(f"{where} has pixels outside 0 .. 1.")
    if shape[0] and not (y.min() >= 0 and y.max() < classes):
        raise DataInvalid(f"{where} has labels outside 0 .. {classes - 1}.")
    return x, y
