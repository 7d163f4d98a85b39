"""Long chunks: frames of 512 points, each its own compressed columns, and a table that summarises every frame.

The table is the chunk's pyramid: a wide chart reads it instead of the points, a narrow one reads only the frames that
it needs. Everything in it is exact: the first, lowest, highest and last finite point of a frame, with their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard

from stillroom.telemetry.codec import LEVEL, Points, decode, decode_many, encode, encode_many, micros

FRAME = 512
PLAIN, FRAMED = 1, 2
FIRST, LOWEST, HIGHEST, LAST = range(4)
STEP_SORTED, TIME_SORTED = 1, 2
MAX_TABLE_BYTES = 64 * 1024 * 1024

# `at`, `step`, `value` and `micro` describe the four points; `at` counts from the frame's beginning.
ROW = np.dtype(
    [
        ("n", "<u4"),
        ("finite", "<u4"),
        ("length", "<u4"),
        ("sorted", "u1"),
        ("step_lo", "<i8"),
        ("step_hi", "<i8"),
        ("micro_lo", "<i8"),
        ("micro_hi", "<i8"),
        ("at", "<u4", (4,)),
        ("step", "<i8", (4,)),
        ("value", "<f8", (4,)),
        ("micro", "<i8", (4,)),
    ]
)

Table = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a row of series_chunk holds. `blocks` is None for a plain chunk, which is one frame."""

    codec: int
    columns: bytes
    blocks: bytes | None


def encode_chunk(points: Points) -> Chunk:
    """Compress at least one point: plain up to 512, framed beyond."""
    if len(points) <= FRAME:
        return Chunk(PLAIN, encode(points), None)
    starts = range(0, len(points), FRAME)
    frames = [encode(points[start : start + FRAME]) for start in starts]
    table = np.concatenate([summarise(points[start : start + FRAME]) for start in starts])
    table["length"] = [len(frame) for frame in frames]
    return Chunk(FRAMED, b"".join(frames), write_table(table))


def encode_chunks(parts: Sequence[Points]) -> list[Chunk]:
    """`encode_chunk` of each."""
    short = iter(encode_many([points for points in parts if len(points) <= FRAME]))
    return [Chunk(PLAIN, next(short), None) if len(points) <= FRAME else encode_chunk(points) for points in parts]


def decode_chunk(columns: bytes | memoryview, blocks: bytes | memoryview | None) -> Points:
    """The inverse of `encode_chunk`."""
    if blocks is None:
        return decode(columns)
    return Points.join(decode_many(frames_of(columns, read_table(blocks))))


def frames_of(columns: bytes | memoryview, table: Table) -> list[memoryview]:
    """A framed chunk's frames, still compressed."""
    whole = memoryview(columns)
    ends = np.cumsum(table["length"].astype(np.int64)).tolist()
    return [whole[start:stop] for start, stop in zip([0, *ends[:-1]], ends, strict=True)]


def write_table(table: Table) -> bytes:
    """Compress a table, its bytes transposed."""
    raw = table.view(np.uint8).reshape(len(table), ROW.itemsize)
    return zstandard.ZstdCompressor(level=LEVEL).compress(np.ascontiguousarray(raw.T).tobytes())


def read_table(blob: bytes | memoryview) -> Table:
    """The inverse of `write_table`."""
    raw = zstandard.ZstdDecompressor().decompress(bytes(blob), max_output_size=MAX_TABLE_BYTES)
    turned = np.frombuffer(raw, np.uint8).reshape(ROW.itemsize, -1).T
    table: Table = np.ascontiguousarray(turned).view(ROW).reshape(-1)
    return table


def summarise(points: Points) -> Table:
    """One row of the table for at least one point. With no finite value the four points are undefined."""
    row = np.zeros(1, ROW)
    micro = micros(points.time)
    finite = np.isfinite(points.value)
    row["n"], row["finite"] = len(points), int(finite.sum())
    row["step_lo"], row["step_hi"] = points.step.min(), points.step.max()
    row["micro_lo"], row["micro_hi"] = micro.min(), micro.max()
    in_order = (points.step[1:] >= points.step[:-1]).all(), (micro[1:] >= micro[:-1]).all()
    row["sorted"] = STEP_SORTED * int(in_order[0]) + TIME_SORTED * int(in_order[1])
    if row["finite"][0]:
        places = np.flatnonzero(finite)
        value = points.value[places]
        at = places[[0, int(value.argmin()), int(value.argmax()), -1]]
        row["at"], row["step"], row["value"], row["micro"] = at, points.step[at], points.value[at], micro[at]
    return row


def read_tables(blobs: Sequence[bytes | memoryview]) -> tuple[Table, Any]:
    """Many tables as one, and how many rows each has; those of one length are turned at once."""
    decompressor = zstandard.ZstdDecompressor()
    raws = [decompressor.decompress(bytes(blob), max_output_size=MAX_TABLE_BYTES) for blob in blobs]
    counts = np.array([len(raw) // ROW.itemsize for raw in raws], np.int64)
    starts = np.cumsum(counts) - counts
    whole = np.empty((int(counts.sum()), ROW.itemsize), np.uint8)
    for count in np.unique(counts).tolist():
        alike = np.flatnonzero(counts == count)
        stack = np.frombuffer(b"".join(raws[place] for place in alike), np.uint8)
        turned = stack.reshape(len(alike), ROW.itemsize, count).transpose(0, 2, 1)
        rows = (starts[alike][:, None] + np.arange(count)).reshape(-1)
        whole[rows] = turned.reshape(-1, ROW.itemsize)
    return whole.view(ROW).reshape(-1), counts
