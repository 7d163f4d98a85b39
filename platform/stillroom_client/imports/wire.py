"""Protocol buffers as they lie on disk: fields by number, nothing more. Broken bytes are a BadSource."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Union

from stillroom_client.imports.source import BadSource

Value = Union[int, bytes]
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(message: bytes) -> Iterator[tuple[int, int, Value]]:
    """(number, wire type, value) of each field in order. Varints are unsigned; fixed and length-delimited are bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise BadSource(f"byte {at}: a field has the number 0.")
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, at = _varint(message, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise BadSource(f"byte {at}: wire type {kind} is not one of protocol buffers'.")
        if at + size > end:
            raise BadSource(f"byte {at}: a field of {size} bytes goes past the end of its message.")
        yield number, kind, message[at : at + size]
        at += size


def signed(value: Value) -> int:
    """A varint as int64."""
    number = value if isinstance(value, int) else int.from_bytes(value, "little")
    return number - (1 << 64) if number >= 1 << 63 else number


def real(value: Value) -> float:
    """A fixed field as float or double, by its size."""
    if isinstance(value, int) or len(value) not in (4, 8):
        raise BadSource("a number has neither 4 nor 8 bytes.")
    return float(struct.unpack("<f" if len(value) == 4 else "<d", value)[0])


def text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def raw(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise BadSource("a message was expected, a number was found.")
    return value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise BadSource(f"byte {at}: a number does not end.")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
