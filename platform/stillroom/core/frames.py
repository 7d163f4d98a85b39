"""Binary frames: `SRC1`, header length, JSON header padded to eight bytes, then float64 little-endian columns.

The browser maps the columns as typed arrays without parsing. Steps are exact up to 2**53.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

MAGIC = b"SRC1"
MEDIA_TYPE = "application/x-stillroom-columns"

Column = np.ndarray[Any, np.dtype[Any]]


def encode_frame(header: dict[str, Any], columns: Sequence[Column]) -> bytes:
    """A frame; the header says how many columns of which length follow."""
    text = orjson.dumps(header)
    text += b" " * (-(8 + len(text)) % 8)
    body = b"".join(np.ascontiguousarray(column, dtype="<f8").tobytes() for column in columns)
    return MAGIC + struct.pack("<I", len(text)) + text + body


def decode_frame(frame: bytes) -> tuple[dict[str, Any], Column]:
    """The header and all columns end to end; raises ValueError when it is not a frame."""
    if frame[:4] != MAGIC or len(frame) < 8:
        raise ValueError("not a frame")
    (length,) = struct.unpack_from("<I", frame, 4)
    header = orjson.loads(frame[8 : 8 + length])
    return header, np.frombuffer(frame, dtype="<f8", offset=8 + length)
