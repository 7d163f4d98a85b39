"""Points as compressed columns: delta, byte shuffle, zstd. Values that fit float32 exactly are kept as float32.

Layout before compression: version (u8), flags (u8), count (u32), first step (i64), first time (i64, microseconds),
then the
shuffled bytes of step deltas (i64), time deltas (i64) and values (f4 or f8). Times are rounded to microseconds.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import zstandard

VERSION = 1
LEVEL = 3
_HEAD = struct.Struct("<BBIqq")
_HEAD_ROW = np.dtype([("version", "u1"), ("flags", "u1"), ("n", "<u4"), ("step", "<i8"), ("micro", "<i8")])
_FLOAT32 = 1
# A zstd context is costly to make and belongs to one thread.
_contexts = threading.local()

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Points:
    """Parallel columns of one series: step (int64), value (float64), time (float64, seconds since 1970)."""

    step: Ints
    value: Floats
    time: Floats

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, index: Any) -> Points:
        return Points(self.step[index], self.value[index], self.time[index])

    @classmethod
    def empty(cls) -> Self:
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0))

    @classmethod
    def join(cls, parts: list[Points]) -> Points:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([part.step for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.time for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Stack:
    """Series end to end: series i is `points[start[i] : start[i] + length[i]]`. None is empty."""

    keys: list[str]
    start: Ints
    length: Ints
    points: Points

    @classmethod
    def of(cls, series: dict[str, Points]) -> Self:
        """The series in the order of the mapping."""
        length = np.array([len(points) for points in series.values()], np.int64)
        return cls(list(series), np.cumsum(length) - length, length, Points.join(list(series.values())))

    @property
    def last(self) -> Ints:
        """The place of each series' last point."""
        return self.start + self.length - 1

    def first_where(self, hit: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Ints, Ints]:
        """Which series have a hit, and the place of the first in each."""
        places = np.flatnonzero(hit)
        owners, first = np.unique(np.searchsorted(self.start, places, "right") - 1, return_index=True)
        return owners, places[first]


def micros(times: Floats) -> Ints:
    """Seconds as the nearest whole microseconds, which are stored. The whole product would round twice."""
    whole = np.floor(times)
    found: Ints = whole.astype(np.int64) * 1_000_000 + np.rint((times - whole) * 1e6).astype(np.int64)
    return found


def encode(points: Points) -> bytes:
    """Compress at least one point."""
    micro = micros(points.time)
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = points.value.astype(np.float32)
        fits = bool(np.array_equal(narrow.astype(np.float64), points.value, equal_nan=True))
        # Differences of int64 may wrap around; the cumulative sum wraps back.
        steps, times = np.diff(points.step), np.diff(micro)
    values = narrow.view(np.uint8) if fits else points.value.view(np.uint8)
    head = _HEAD.pack(VERSION, _FLOAT32 if fits else 0, len(points), int(points.step[0]), int(micro[0]))
    body = _shuffle(steps.view(np.uint8), 8) + _shuffle(times.view(np.uint8), 8) + _shuffle(values, 4 if fits else 8)
    return _compressor().compress(head + body)


def encode_many(parts: Sequence[Points]) -> list[bytes]:
    """`encode` of each, those of one length at once: for batches of many short series."""
    alike: dict[int, list[int]] = {}
    for place, points in enumerate(parts):
        alike.setdefault(len(points), []).append(place)
    found = [b""] * len(parts)
    for places in alike.values():
        group = [parts[place] for place in places]
        blobs = _encode_alike(group) if len(group) > 1 else [encode(group[0])]
        for place, blob in zip(places, blobs, strict=True):
            found[place] = blob
    return found


def _encode_alike(parts: list[Points]) -> list[bytes]:
    step = np.stack([points.step for points in parts])
    micro = micros(np.stack([points.time for points in parts]))
    value = np.stack([points.value for points in parts])
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = value.astype(np.float32)
        fits = ((narrow == value) | (np.isnan(narrow) & np.isnan(value))).all(axis=1)
        deltas = np.diff(step, axis=1), np.diff(micro, axis=1)
    head = np.empty(len(parts), _HEAD_ROW)
    head["version"], head["flags"], head["n"] = VERSION, np.where(fits, _FLOAT32, 0), step.shape[1]
    head["step"], head["micro"] = step[:, 0], micro[:, 0]
    fixed = np.hstack((head.view(np.uint8).reshape(len(parts), -1), *map(_shuffled, deltas)))
    compress = _compressor().compress
    found = [b""] * len(parts)
    for which, column in ((fits, narrow), (~fits, value)):
        rows = np.hstack((fixed[which], _shuffled(column[which])))
        for place, row in zip(np.flatnonzero(which).tolist(), rows, strict=True):
            found[place] = compress(row.data)
    return found


def _shuffled(table: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The bytes of each row: all first bytes, then all second bytes and so on."""
    rows, columns = table.shape
    if not rows or not columns:
        return np.empty((rows, 0), np.uint8)
    cells = np.ascontiguousarray(table).view(np.uint8).reshape(rows, columns, table.itemsize)
    return np.ascontiguousarray(cells.transpose(0, 2, 1)).reshape(rows, -1)


def decode(blob: bytes | memoryview) -> Points:
    """The inverse of `encode`; raises ValueError on another version."""
    raw = _decompressor().decompress(blob)
    version, flags, n, step0, micro0 = _HEAD.unpack_from(raw)
    if version != VERSION:
        raise ValueError(f"chunk of version {version}")
    width = 4 if flags & _FLOAT32 else 8
    at = _HEAD.size
    deltas = (n - 1) * 8
    steps = _unshuffle(raw[at : at + deltas], 8).view(np.int64)
    rises = _unshuffle(raw[at + deltas : at + 2 * deltas], 8).view(np.int64)
    values = _unshuffle(raw[at + 2 * deltas :], width).view(np.float32 if width == 4 else np.float64)
    with np.errstate(over="ignore"):
        step = np.cumsum(np.concatenate(([step0], steps)), dtype=np.int64)
        micro = np.cumsum(np.concatenate(([micro0], rises)), dtype=np.int64)
    return Points(step, values.astype(np.float64), micro / 1e6)


def decode_many(blobs: Sequence[bytes | memoryview]) -> list[Points]:
    """The same for many blobs, those of one length and width at once: for frames of long chunks."""
    raws = [_decompressor().decompress(blob) for blob in blobs]
    alike: dict[tuple[bytes, int], list[int]] = {}
    for place, raw in enumerate(raws):
        alike.setdefault((raw[:6], len(raw)), []).append(place)
    found: list[Points] = [Points.empty()] * len(raws)
    for places in alike.values():
        for place, points in zip(places, _decode_alike([raws[place] for place in places]), strict=True):
            found[place] = points
    return found


def _decode_alike(raws: list[bytes]) -> list[Points]:
    heads = [_HEAD.unpack_from(raw) for raw in raws]
    version, flags, n, _, _ = heads[0]
    if version != VERSION:
        raise ValueError(f"chunk of version {version}")
    width = 4 if flags & _FLOAT32 else 8
    table = np.frombuffer(b"".join(raws), np.uint8).reshape(len(raws), -1)[:, _HEAD.size :]
    deltas = (n - 1) * 8

    def column(start: int, count: int, size: int) -> Any:
        part = table[:, start : start + count * size].reshape(len(raws), size, count)
        return np.ascontiguousarray(part.transpose(0, 2, 1)).reshape(len(raws), -1)

    first = np.array([head[3:] for head in heads], np.int64)
    step, micro = (np.empty((len(raws), n), np.int64) for _ in range(2))
    for place, whole in enumerate((step, micro)):
        whole[:, 0] = first[:, place]
        whole[:, 1:] = column(place * deltas, n - 1, 8).view(np.int64)
        with np.errstate(over="ignore"):
            np.cumsum(whole, axis=1, out=whole)
    value = column(2 * deltas, n, width).view(np.float32 if width == 4 else np.float64).astype(np.float64)
    time = micro / 1e6
    return [Points(step[row], value[row], time[row]) for row in range(len(raws))]


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_contexts, "compressor"):
        _contexts.compressor = zstandard.ZstdCompressor(level=LEVEL)
    found: zstandard.ZstdCompressor = _contexts.compressor
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_contexts, "decompressor"):
        _contexts.decompressor = zstandard.ZstdDecompressor()
    found: zstandard.ZstdDecompressor = _contexts.decompressor
    return found


def _shuffle(data: np.ndarray[Any, np.dtype[np.uint8]], width: int) -> bytes:
    return data.reshape(-1, width).T.tobytes()


def _unshuffle(data: bytes, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(width, -1).T).reshape(-1)
