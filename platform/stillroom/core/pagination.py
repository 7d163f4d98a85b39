"""Keyset cursors: an opaque, URL-safe rendering of the last row's sort values."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from stillroom.core.errors import Invalid

DEFAULT_LIMIT, MAX_LIMIT = 50, 500


def encode_cursor(values: list[Any]) -> str:
    """Pack sort values."""
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def decode_cursor(text: str, *, length: int) -> list[Any]:
    """Unpack; raises Invalid naming `cursor` when it is not one of ours."""
    try:
        values = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        values = None
    if not isinstance(values, list) or len(values) != length:
        raise Invalid("The cursor is not one that this list gave.", fields={"cursor": "Not a cursor of this list."})
    return values
