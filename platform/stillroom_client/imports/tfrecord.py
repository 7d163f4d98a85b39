"""TFRecord files: length, checksum of the length, data, checksum of the data. Every checksum is verified.

A record is u64 length, u32 masked CRC-32C of it, the bytes, u32 masked CRC-32C of them (all little endian); masked
means rotated right by 15 bits plus 0xa282ead8 (TensorFlow, `tensorflow/core/lib/io/record_writer.h`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stillroom_client.imports.source import BadSource

MOST_BYTES = 1 << 30
_POLYNOMIAL = 0x82F63B78


def _tables() -> list[list[int]]:
    """Eight tables, so that eight bytes are taken at once."""
    first = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
        first.append(byte)
    tables = [first]
    for _ in range(7):
        before = tables[-1]
        tables.append([first[value & 0xFF] ^ (value >> 8) for value in before])
    return tables


_T = _tables()


def _crc32c_slow(data: bytes) -> int:
    t0, t1, t2, t3, t4, t5, t6, t7 = _T
    crc, at, whole = 0xFFFFFFFF, 0, len(data) & ~7
    for low, high in struct.iter_unpack("<II", data[:whole]):
        low ^= crc
        crc = (
            t7[low & 0xFF]
            ^ t6[(low >> 8) & 0xFF]
            ^ t5[(low >> 16) & 0xFF]
            ^ t4[low >> 24]
            ^ t3[high & 0xFF]
            ^ t2[(high >> 8) & 0xFF]
            ^ t1[(high >> 16) & 0xFF]
            ^ t0[high >> 24]
        )
    for at in range(whole, len(data)):
        crc = (crc >> 8) ^ t0[(crc ^ data[at]) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _fastest() -> Callable[[bytes], int]:
    try:
        import google_crc32c
    except ImportError:
        return _crc32c_slow
    found: Callable[[bytes], int] = google_crc32c.value
    return found


crc32c = _fastest()


def masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class RecordFile:
    """Reads records from where it stopped; what is not whole yet is left for the next time. Raises BadSource."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def records(self) -> Iterator[bytes]:
        """The whole records that there are beyond `offset`."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                yield from self._read(file)
        except OSError as error:
            raise BadSource(f"{self.path}: {error.strerror or error}.") from None

    @property
    def rest_bytes(self) -> int:
        """Bytes behind the last whole record: above 0 when the file was cut or is still being written."""
        return self.path.stat().st_size - self.offset

    def _read(self, file: Any) -> Iterator[bytes]:
        while len(head := file.read(12)) == 12:
            length, check = struct.unpack("<QI", head)
            if masked(crc32c(head[:8])) != check:
                raise BadSource(f"{self.path}: byte {self.offset}: the checksum of a record's length does not match.")
            if length > MOST_BYTES:
                raise BadSource(f"{self.path}: byte {self.offset}: a record of {length} bytes; at most {MOST_BYTES}.")
            body = file.read(length + 4)
            if len(body) < length + 4:
                return
            data = body[:length]
            if masked(crc32c(data)) != struct.unpack("<I", body[length:])[0]:
                raise BadSource(f"{self.path}: byte {self.offset}: the checksum of a record does not match.")
            self.offset += 16 + length
            yield data
