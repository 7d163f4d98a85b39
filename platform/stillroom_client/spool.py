"""A write-ahead spool: numbered records in append-only segment files, kept until the platform has them.

A record is length, crc32 and number (little endian), then the payload. A crash at any byte leaves a readable prefix.
Records reach the page cache, not the disk: a spool outlives its process, not a power cut, and neither does the attempt.
"""

from __future__ import annotations

import os
import shutil
import struct
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_BYTES = 256 * 1024 * 1024
SEGMENT_BYTES = 8 * 1024 * 1024

_HEAD = struct.Struct("<IIQ")
_SUFFIX = ".spool"


class SpoolFull(Exception):
    """The record would exceed the bound, or the disk has no room; nothing was written."""


@dataclass
class _Segment:
    path: Path
    descriptor: int
    first: int
    size_bytes: int = 0
    records: list[tuple[int, int]] = field(default_factory=list)  # offset and length of each payload

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1


class Spool:
    """Records 1, 2, 3, ... of one attempt. One thread appends, others may read and acknowledge.

    folder: made when missing; what it holds is taken over. limit_bytes: of all segments together.
    segment_bytes: the size from which a new segment begins.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._segments: list[_Segment] = []
        self._acked = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover()

    @property
    def first_seq(self) -> int:
        """The oldest record still kept, or the number of the next one when there is none."""
        with self._lock:
            return self._segments[0].first if self._segments else 1

    @property
    def last_seq(self) -> int:
        """The newest record; 0 when there has never been one."""
        with self._lock:
            return self._segments[-1].last if self._segments else 0

    @property
    def fill(self) -> float:
        """The share of the bound that unacknowledged records occupy."""
        with self._lock:
            return sum(s.size_bytes for s in self._segments if s.last > self._acked) / self._limit_bytes

    def append(self, payload: bytes, *, beyond_limit: bool = False) -> int:
        """Write the next record and give its number. beyond_limit: for last words. Raises SpoolFull."""
        with self._lock:
            if not beyond_limit:
                self._make_room(_HEAD.size + len(payload))
            segment = self._segment_to_write()
            seq = segment.last + 1
            record = _head(seq, payload) + payload
            try:
                _write_all(segment.descriptor, record, segment.size_bytes)
            except OSError as error:
                os.ftruncate(segment.descriptor, segment.size_bytes)
                raise SpoolFull(f"Cannot write to {segment.path.name}: {error.strerror}.") from error
            segment.records.append((segment.size_bytes + _HEAD.size, len(payload)))
            segment.size_bytes += len(record)
            return seq

    def read(self, seq: int) -> bytes:
        """The payload of a record. Raises KeyError when it is not there (any more)."""
        with self._lock:
            for segment in self._segments:
                if segment.first <= seq <= segment.last:
                    offset, length = segment.records[seq - segment.first]
                    return os.pread(segment.descriptor, length, offset)
        raise KeyError(seq)

    def ack(self, seq: int) -> None:
        """The platform holds every record up to this one. They are kept while there is room, to be sent once more."""
        with self._lock:
            self._acked = max(self._acked, seq)

    def close(self) -> None:
        """Close the files and leave them where they are."""
        with self._lock:
            for segment in self._segments:
                os.close(segment.descriptor)
            self._segments.clear()

    def destroy(self) -> None:
        """Close and delete."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make_room(self, wanted_bytes: int) -> None:
        while sum(s.size_bytes for s in self._segments) + wanted_bytes > self._limit_bytes:
            oldest = self._segments[0] if self._segments else None
            if oldest is None or oldest is self._segments[-1] or oldest.last > self._acked:
                raise SpoolFull(f"The spool holds {self._limit_bytes} bytes that the platform has not acknowledged.")
            self._drop(oldest)

    def _segment_to_write(self) -> _Segment:
        current = self._segments[-1] if self._segments else None
        if current is None or current.size_bytes >= self._segment_bytes:
            first = current.last + 1 if current else 1
            path = self._folder / f"{first:012d}{_SUFFIX}"
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise SpoolFull(f"Cannot create {path.name}: {error.strerror}.") from error
            current = _Segment(path, descriptor, first)
            self._segments.append(current)
        return current

    def _drop(self, segment: _Segment) -> None:
        self._segments.remove(segment)
        os.close(segment.descriptor)
        segment.path.unlink(missing_ok=True)

    def _recover(self) -> None:
        paths = sorted(path for path in self._folder.iterdir() if path.suffix == _SUFFIX)
        for number, path in enumerate(paths):
            first = int(path.stem)
            if self._segments and first != self._segments[-1].last + 1:
                _unlink_all(paths[number:])
                return
            segment = _Segment(path, os.open(path, os.O_RDWR | os.O_CLOEXEC), first)
            self._segments.append(segment)
            if not _scan(segment):
                _unlink_all(paths[number + 1 :])
                return


def _head(seq: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), zlib.crc32(payload, seq & 0xFFFFFFFF), seq)


def _write_all(descriptor: int, record: bytes, offset: int) -> None:
    rest = memoryview(record)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest = rest[written:]
        offset += written


def _scan(segment: _Segment) -> bool:
    """Read the records of a segment and cut it after the last good one; False when something had to be cut."""
    end = os.fstat(segment.descriptor).st_size
    while segment.size_bytes + _HEAD.size <= end:
        head = os.pread(segment.descriptor, _HEAD.size, segment.size_bytes)
        length, _, seq = _HEAD.unpack(head)
        offset = segment.size_bytes + _HEAD.size
        if seq != segment.last + 1 or offset + length > end:
            break
        if _head(seq, os.pread(segment.descriptor, length, offset)) != head:
            break
        segment.records.append((offset, length))
        segment.size_bytes = offset + length
    os.ftruncate(segment.descriptor, segment.size_bytes)
    return segment.size_bytes == end


def _unlink_all(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
