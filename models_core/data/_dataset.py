"""What every data set declares about itself, and how its bytes are verified."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
import zlib
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
    """Flat images in [0, 1] with labels 0 .. classes-1, split into a training and a test part.

    A row reshaped to `shape` is the image (height, width, channels).
    """

    side: int
    train_x: Float32[np.ndarray, "train pixels"]
    train_y: Int32[np.ndarray, " train"]
    test_x: Float32[np.ndarray, "test pixels"]
    test_y: Int32[np.ndarray, " test"]
    channels: int = 1
    classes: int = 10

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        return self.side, self.side, self.channels


@dataclass(frozen=True, slots=True)
class Document:
    """One text. group: whose it is (author, book, module, language), for splits by client."""

    name: str
    group: str
    text: str


class DataInvalid(CoreError):
    """A data file is missing or not the one whose checksum is recorded."""

    code = "data.invalid"


def local_folder(name: str, folder: str | Path | None = None) -> Path:
    """Where the files of the data set `name` are: `folder`, or `name` below $STILLROOM_DATA_DIR.

    Without either it is `~/.local/share/stillroom/data/<name>`. Raises DataInvalid when there is no such folder.
    """
    root = os.environ.get("STILLROOM_DATA_DIR") or Path.home() / ".local/share/stillroom/data"
    path = Path(folder) if folder is not None else Path(root, name)
    if not path.is_dir():
        raise DataInvalid(
            f"There is no folder {path} with the files of {name}; docs/reference/data.md says where from."
        )
    return path


def read_local(folder: Path, name: str, *, limit: int, sha256: str | None = None) -> bytes:
    """The content of `folder/name`, or of `folder/name.gz` unpacked; at most `limit` bytes.

    sha256: of the unpacked content (packed files differ by packer). Raises DataInvalid when the file is missing, too
    large, damaged, or not the recorded one.
    """
    path = folder / name
    packed = path if path.suffix == ".gz" else path.with_name(path.name + ".gz")
    try:
        raw = path.read_bytes() if path.is_file() else packed.read_bytes()
        if path.is_file() and path.suffix != ".gz":
            content = raw
        else:
            # A few kilobytes can unpack to more than the memory: never more than one byte past the limit is read.
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as unpacked:
                content = unpacked.read(limit + 1)
    except FileNotFoundError:
        raise DataInvalid(f"{folder} has neither {name} nor {name}.gz.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataInvalid(f"{name} in {folder} cannot be read: {error}") from None
    if len(content) > limit:
        raise DataInvalid(f"{name} in {folder} is larger than the {limit} bytes that it may have.")
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataInvalid(f"{name} in {folder} has sha256 {found}; the recorded one is {sha256}.")
    return content


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
