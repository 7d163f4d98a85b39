"""The IDX format of MNIST and its successors: a magic number, big-endian sizes, then bytes. Trusts no header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models_core.data._dataset import DataInvalid, Images, read_local

_UNSIGNED_BYTES = 0x08
# EMNIST by class, the largest published, has 697,932 images of 784 bytes.
_LIMIT = 1 << 30


def parse(content: bytes, name: str, *, rank: int) -> np.ndarray:
    """The array of unsigned bytes in `content`; `name` is for messages.

    Raises DataInvalid for another type or rank, and when header and length do not agree to the byte.
    """
    head = 4 + 4 * rank
    if len(content) < head:
        raise DataInvalid(f"{name} is truncated: {len(content)} bytes, its header alone has {head}.")
    zero, kind, found = int.from_bytes(content[:2], "big"), content[2], content[3]
    if zero or kind != _UNSIGNED_BYTES or found != rank:
        raise DataInvalid(
            f"{name} is not an IDX file of unsigned bytes with {rank} axes: it begins {content[:4].hex()}."
        )
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank)]
    # Python's integers: the product of lying sizes cannot wrap around.
    if head + math.prod(shape) != len(content):
        raise DataInvalid(f"{name} announces {'x'.join(map(str, shape))} bytes but holds {len(content) - head}.")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def load_images(
    folder: Path,
    names: Sequence[str],
    sha256: Sequence[str | None],
    *,
    side: int = 28,
    classes: int = 10,
    first_label: int = 0,
    transposed: bool = False,
) -> Images:
    """Training images and labels, test images and labels, from the four files `names` (each may be packed as .gz)."""
    arrays = []
    for name, digest, rank in zip(names, sha256, (3, 1, 3, 1), strict=True):
        arrays.append(parse(read_local(folder, name, limit=_LIMIT, sha256=digest), name, rank=rank))
    parts: list[np.ndarray] = []
    for images, labels, name in zip(arrays[::2], arrays[1::2], names[::2], strict=True):
        if images.shape[1:] != (side, side) or not len(images):
            raise DataInvalid(f"{name} holds {'x'.join(map(str, images.shape))} bytes, not images of {side}x{side}.")
        if len(images) != len(labels):
            raise DataInvalid(f"{name} has {len(images)} images, the file of its labels {len(labels)}.")
        numbers = labels.astype(np.int32) - first_label
        if numbers.min() < 0 or numbers.max() >= classes:
            raise DataInvalid(f"The labels of {name} are not all in {first_label} .. {first_label + classes - 1}.")
        upright = images.transpose(0, 2, 1) if transposed else images
        parts += [upright.reshape(len(images), -1).astype(np.float32) / np.float32(255), numbers]
    train_x, train_y, test_x, test_y = parts
    return Images(side, train_x, train_y, test_x, test_y, classes=classes)
