"""The safetensors file format, read without trust and written for every reader.

A file is an 8-byte little-endian header length, a JSON header that gives each tensor's dtype, shape and byte range, and
the bytes. Everything the header claims is checked against the file's size before anything is allocated or mapped.
Refuses: truncated files, lengths and offsets that lie, overlapping or missing ranges, unknown dtypes, and file names in
an index that point elsewhere.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from models_core.errors import WeightsInvalid

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
# The format's own bound on headers.
_HEADER_LIMIT = 100_000_000
_INDEX_LIMIT = 100_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file: where its bytes lie, and what they are."""

    path: Path
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int

    def read(self) -> NDArray[Any]:
        """The tensor, mapped from the file: pages are read when touched."""
        if self.start == self.stop:
            return np.empty(self.shape, self.dtype)
        raw = np.memmap(self.path, np.uint8, "r", offset=self.start, shape=(self.stop - self.start,))
        return raw.view(self.dtype).reshape(self.shape)


def read_folder(folder: Path) -> dict[str, Entry]:
    """Tensors of `model.safetensors`, or of the files that `model.safetensors.index.json` names."""
    if (folder / INDEX).is_file():
        return _read_index(folder)
    if not (folder / SINGLE).is_file():
        raise _invalid(folder / SINGLE, f"Neither {SINGLE} nor {INDEX} is there.")
    return read_header(folder / SINGLE)


def read_header(path: Path) -> dict[str, Entry]:
    """Tensors of one file by name. Raises WeightsInvalid that names the file, and the tensor where one is at fault."""
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if size < 8 or length > size - 8:
                raise _invalid(
                    path, f"The header claims {length} bytes, the file has {max(size - 8, 0)} after its length."
                )
            if length > _HEADER_LIMIT:
                raise _invalid(path, f"The header claims {length} bytes, the format allows {_HEADER_LIMIT}.")
            text = handle.read(length)
    except OSError as error:
        raise _invalid(path, f"Cannot be read: {error.strerror}.") from None
    header = _json(path, text)
    header.pop("__metadata__", None)
    base, room = 8 + length, size - 8 - length
    entries = {name: _entry(path, name, claim, base, room) for name, claim in header.items()}
    _check_ranges(path, list(entries.values()), base, room)
    return entries


def _entry(path: Path, name: str, claim: Any, base: int, room: int) -> Entry:
    fields = claim if isinstance(claim, dict) else {}
    shape, offsets = fields.get("shape"), fields.get("data_offsets")
    code = fields.get("dtype")
    dtype = DTYPES.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise _invalid(path, f"Unknown dtype {code!r}.", name)
    if not _naturals(shape) or len(shape) > 32:
        raise _invalid(path, "The shape is no list of sizes.", name)
    if not _naturals(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= room:
        raise _invalid(path, f"The byte range {offsets!r} lies outside the file's {room} bytes of data.", name)
    wanted = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != wanted:
        raise _invalid(path, f"Shape {shape} needs {wanted} bytes, the range has {offsets[1] - offsets[0]}.", name)
    return Entry(path, name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _check_ranges(path: Path, entries: list[Entry], base: int, room: int) -> None:
    reached = base
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.stop)):
        if entry.start != reached:
            problem = "overlaps another" if entry.start < reached else "leaves a hole before it"
            raise _invalid(path, f"Its byte range {problem}.", entry.name)
        reached = entry.stop
    if reached != base + room:
        raise _invalid(path, f"{base + room - reached} bytes belong to no tensor.")


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**62 for item in value)


def _json(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name appears twice")
        return found

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"The header is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise _invalid(path, "The header is no JSON object.")
    return value


def _read_index(folder: Path) -> dict[str, Entry]:
    path = folder / INDEX
    if path.stat().st_size > _INDEX_LIMIT:
        raise _invalid(path, "Too large for an index.")
    mapped = _json(path, path.read_bytes()).get("weight_map")
    if not isinstance(mapped, dict) or not all(isinstance(name, str) for name in mapped.values()):
        raise _invalid(path, "weight_map is no object of file names.")
    for tensor, file in mapped.items():
        # A plain name: no folder, no parent, no drive, no hidden file.
        if file != Path(file).name or "\\" in file or file.startswith(".") or not file.endswith(".safetensors"):
            raise _invalid(path, f"{file!r} is no plain name of a safetensors file.", tensor)
    found: dict[str, Entry] = {}
    for file in sorted(set(mapped.values())):
        for name, entry in read_header(folder / file).items():
            if mapped.get(name) != file:
                raise _invalid(folder / file, "The index does not place it in this file.", name)
            found[name] = entry
    for name, file in mapped.items():
        if name not in found:
            raise _invalid(folder / file, "Missing, although the index places it here.", name)
    return found


def write_folder(folder: Path, tensors: Mapping[str, NDArray[Any]], *, shard_bytes: int = 5_000_000_000) -> list[Path]:
    """Write `model.safetensors`, or numbered files of at most `shard_bytes` with an index; returns the files.

    A tensor larger than `shard_bytes` gets a file of its own. Each file appears by one rename.
    """
    shards: list[dict[str, NDArray[Any]]] = [{}]
    held = 0
    for name, tensor in tensors.items():
        if shards[-1] and held + tensor.nbytes > shard_bytes:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held += tensor.nbytes
    folder.mkdir(parents=True, exist_ok=True)
    if len(shards) == 1:
        (folder / INDEX).unlink(missing_ok=True)
        return [write_file(folder / SINGLE, tensors)]
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    files = [write_file(folder / name, shard) for name, shard in zip(names, shards, strict=True)]
    placed = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))}
    _replace(folder / INDEX, [json.dumps(index, indent=2).encode()])
    (folder / SINGLE).unlink(missing_ok=True)
    return [*files, folder / INDEX]


def write_file(path: Path, tensors: Mapping[str, NDArray[Any]]) -> Path:
    """Write one file, its metadata saying "pt" as the transformers library demands."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    # Wide items first keeps every tensor aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    for name in order:
        tensor = tensors[name]
        code, stop = _CODES[tensor.dtype], place + tensor.nbytes
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [place, stop]}
        place = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    _replace(path, [len(text).to_bytes(8, "little"), text], [tensors[name] for name in order])
    return path


def _replace(path: Path, head: list[bytes], tensors: list[NDArray[Any]] | None = None) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as handle:
        for part in head:
            handle.write(part)
        for tensor in tensors or []:
            handle.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def _invalid(path: Path, reason: str, tensor: str = "") -> WeightsInvalid:
    place = f"{path.name}: {tensor}" if tensor else path.name
    return WeightsInvalid(f"The weights cannot be used. {place}: {reason}", fields={tensor or path.name: reason})
