"""What every data set declares about itself, and how its bytes are verified."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from models_core.errors import CoreError


@dataclass(frozen=True, slots=True)
class Source:
    """Where real data comes from. sha256: of the file read; None where the content depends on the installation."""

    title: str
    origin: str
    licence: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Images:
    """Flat grey images in [0, 1] with labels 0..9, split into a training and a test part."""

    side: int
    train_x: Float32[np.ndarray, "train pixels"]
    train_y: Int32[np.ndarray, " train"]
    test_x: Float32[np.ndarray, "test pixels"]
    test_y: Int32[np.ndarray, " test"]


class DataInvalid(CoreError):
    """A data file is missing or not the one whose checksum is recorded."""

    code = "data.invalid"


def read_packaged(package: str, parts: Sequence[str], sha256: str) -> bytes:
    """A file that an installed package carries, found without importing the package; raises DataInvalid."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataInvalid(f"The data file {'/'.join(parts)} comes with the package {package}, which is not installed.")
    path = Path(spec.submodule_search_locations[0], *parts)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataInvalid(f"The package {package} does not carry {'/'.join(parts)}: {error}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataInvalid(f"{path.name} of {package} has sha256 {found}; the recorded one is {sha256}.")
    return content


def split_images(pixels: np.ndarray, labels: np.ndarray, *, side: int, tests: int) -> Images:
    """A fixed random split, the same in every run: the last `tests` of one permutation are the test part."""
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(labels))
    train, test = order[:-tests], order[-tests:]
    x, y = pixels.astype(np.float32), labels.astype(np.int32)
    return Images(side, x[train], y[train], x[test], y[test])
