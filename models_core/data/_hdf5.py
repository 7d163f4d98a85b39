"""The federated files of TensorFlow Federated: HDF5 with a group `examples/<client>` of arrays for every client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models_core.data._dataset import DataInvalid


def clients(path: Path, keys: tuple[str, ...], *, most: int | None, rows: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and arrays of the first `most` clients in the order of their names; nothing of an array is read yet.

    rows: the most that an array may announce: a file of a few bytes can announce terabytes. Raises DataInvalid when
    h5py is missing or the file is not of this format.
    """
    try:
        import h5py
    except ImportError:
        raise DataInvalid(f"{path.name} is read with h5py, which is not installed.") from None
    try:
        with h5py.File(path, "r") as file:
            for name in sorted(file["examples"])[:most]:
                group = file["examples"][name]
                arrays = {key: group[key] for key in keys}
                lengths = {array.shape[0] if isinstance(array, h5py.Dataset) else -1 for array in arrays.values()}
                if len(lengths) != 1 or not 0 <= max(lengths) <= rows:
                    raise DataInvalid(f"{path.name}: client {name} has no equally long arrays {', '.join(keys)}.")
                yield str(name), arrays
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        raise DataInvalid(f"{path} cannot be read as federated HDF5: {error}") from None
