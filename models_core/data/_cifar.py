"""The binary version of CIFAR: records of label bytes and 3,072 pixels, red, green and blue plane. No pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models_core.data._dataset import DataInvalid, Images, read_local

SIDE, CHANNELS = 32, 3
_PIXELS = SIDE * SIDE * CHANNELS
_LIMIT = 1 << 28


def parse(content: bytes, name: str, *, label_bytes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3072) in [0, 1] with channels last, and labels: the last label byte of each record.

    Raises DataInvalid unless `content` is a whole number of records with labels below `classes`.
    """
    record = label_bytes + _PIXELS
    if not content or len(content) % record:
        raise DataInvalid(f"{name} has {len(content)} bytes, which is not a whole number of records of {record}.")
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = rows[:, label_bytes - 1].astype(np.int32)
    if labels.max() >= classes:
        raise DataInvalid(f"{name} has the label {labels.max()}; there are {classes} classes.")
    planes = rows[:, label_bytes:].reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    return planes.reshape(len(rows), _PIXELS).astype(np.float32) / np.float32(255), labels


def load_images(folder: Path, train: Sequence[str], test: str, *, label_bytes: int, classes: int) -> Images:
    """All records of the files `train`, one after the other, and of the file `test`."""
    parts = [
        parse(read_local(folder, name, limit=_LIMIT), name, label_bytes=label_bytes, classes=classes)
        for name in (*train, test)
    ]
    x, y = (np.concatenate([part[index] for part in parts[:-1]]) for index in (0, 1))
    test_x, test_y = parts[-1]
    return Images(SIDE, x, y, test_x, test_y, channels=CHANNELS, classes=classes)
