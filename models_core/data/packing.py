"""Documents of unequal length as rows of equal length, with what a model must know to keep them apart."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Int32


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of inputs and the tokens that follow them.

    segments: 1, 2, .. for the documents of a row, 0 for padding; attention stays inside a segment. positions: restart
    at 0 with every segment. valid: 1 where the target counts, 0 at padding.
    """

    inputs: Int32[np.ndarray, "rows length"]
    targets: Int32[np.ndarray, "rows length"]
    segments: Int32[np.ndarray, "rows length"]
    positions: Int32[np.ndarray, "rows length"]
    valid: Float32[np.ndarray, "rows length"]

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, rows: Int[np.ndarray, " batch"]) -> dict[str, np.ndarray]:
        """The chosen rows, by field name."""
        return {name: getattr(self, name)[rows] for name in ("inputs", "targets", "segments", "positions", "valid")}


def pack_stream(documents: Sequence[Int32[np.ndarray, " _"]], length: int) -> Packed:
    """One stream cut into rows; documents follow each other inside a row and see each other. The rest is dropped.

    Every token but the first is a target once: a row begins with the last target of the one before.
    """
    stream = np.concatenate([np.zeros(0, np.int32), *documents])
    rows = max(len(stream) - 1, 0) // length
    shape = (rows, length)
    return Packed(
        inputs=stream[: rows * length].reshape(shape),
        targets=stream[1 : rows * length + 1].reshape(shape),
        segments=np.ones(shape, np.int32),
        positions=np.broadcast_to(np.arange(length, dtype=np.int32), shape),
        valid=np.ones(shape, np.float32),
    )


def pack_documents(documents: Sequence[Int32[np.ndarray, " _"]], length: int, *, pad: int = 0) -> Packed:
    """Whole documents side by side, kept apart; longer ones are cut into pieces that overlap by one token.

    Pieces are placed longest first, each into the fullest row that has room (best fit decreasing). Every token but a
    document's first is a target once.
    """
    pieces = [
        (document[start : start + length], document[start + 1 : start + 1 + length])
        for document in documents
        for start in range(0, len(document) - 1, length)
    ]
    pieces = [(inputs[: len(targets)], targets) for inputs, targets in pieces]
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []
    for index in sorted(range(len(pieces)), key=lambda index: -len(pieces[index][1])):
        size = len(pieces[index][1])
        place = bisect_left(free, (size, -1))
        if place < len(free):
            room, row = free.pop(place)
        else:
            room, row = length, len(rows)
            rows.append([])
        rows[row].append(index)
        if room > size:
            insort(free, (room - size, row))
    shape = (len(rows), length)
    packed = Packed(
        inputs=np.full(shape, pad, np.int32),
        targets=np.full(shape, pad, np.int32),
        segments=np.zeros(shape, np.int32),
        positions=np.zeros(shape, np.int32),
        valid=np.zeros(shape, np.float32),
    )
    for row, members in enumerate(rows):
        start = 0
        for segment, index in enumerate(members, 1):
            inputs, targets = pieces[index]
            span = slice(start, start + len(targets))
            packed.inputs[row, span], packed.targets[row, span] = inputs, targets
            packed.segments[row, span], packed.valid[row, span] = segment, 1
            packed.positions[row, span] = np.arange(len(targets))
            start += len(targets)
        packed.positions[row, start:] = np.arange(length - start)
    return packed
