"""Keyset cursors: an opaque, URL-safe rendering of the last row's sort values."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from django.core.exceptions import ValidationError
from django.db import DataError

from stillroom.core.errors import Invalid
from stillroom.core.plain import check_plain

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
        raise _foreign()
    try:
        check_plain(values)
    except Invalid:
        raise _foreign() from None
    return values


@contextmanager
def continued(cursor: str | None) -> Iterator[None]:
    """Around the query of a page: values of another list's cursor do not compare, and the fault is the cursor's."""
    try:
        yield
    except (DataError, ValidationError, ValueError, TypeError) as error:
        if not cursor:
            raise
        raise _foreign() from error


def _foreign() -> Invalid:
    return Invalid("The cursor is not one that this list gave.", fields={"cursor": "Not a cursor of this list."})
