"""Literals: numbers, spans of time, moments. What a value means depends on the field it is compared with."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from stillroom.runs.query.tree import QueryError, Value

SPAN = re.compile(r"(\d+(?:\.\d+)?)(s|sec|m|min|h|d|w|y)")
SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_557_600}
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
NUMERIC_TEXT = r"^[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?$"
"""Text that PostgreSQL can certainly read as a number."""


def is_number(value: Value) -> bool:
    return not value.quoted and NUMBER.fullmatch(value.text) is not None


def number(value: Value, text: str) -> float:
    """A finite number without quotes."""
    if is_number(value):
        found = float(value.text)
        if math.isfinite(found):
            return found
    raise QueryError(f"{shown(value)} is no number", text=text, at=value.at, expected=("a number",))


def span(value: Value, text: str) -> float:
    """Seconds: `90`, `90s`, `15m`, `2h`, `7d`."""
    found = SPAN.fullmatch(value.text)
    if found is not None:
        return float(found.group(1)) * SECONDS[found.group(2)]
    if is_number(value):
        return number(value, text)
    raise QueryError(
        f"{shown(value)} is no span of time",
        text=text,
        at=value.at,
        expected=("a number of seconds", "90s", "15m", "2h"),
    )


def moment(value: Value, text: str, now: datetime) -> datetime:
    """`7d` is seven days before now; `2026-01-31`, with or without a time, is itself; a number is milliseconds since
    1970.
    """
    try:
        if SPAN.fullmatch(value.text):
            return now - timedelta(seconds=span(value, text))
        if is_number(value):
            return datetime.fromtimestamp(number(value, text) / 1000, UTC)
        found = datetime.fromisoformat(value.text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        raise QueryError(
            f"{shown(value)} is no moment", text=text, at=value.at, expected=("7d", "2026-01-31", "'2026-01-31 12:00'")
        ) from None


def shown(value: Value) -> str:
    return repr(value.text[:40]) if value.quoted else value.text[:40]
