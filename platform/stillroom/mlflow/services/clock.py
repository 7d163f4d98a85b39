"""Milliseconds since 1970, as MLflow counts."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from stillroom.mlflow.errors import invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    return int(time.time() * 1000)


def moment(ms: int, name: str) -> datetime:
    """A time from milliseconds; INVALID_PARAMETER_VALUE when no calendar reaches it."""
    try:
        return EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        raise invalid(f"Invalid value {ms} for parameter '{name}' supplied: There is no such date.") from None


def millis(at: datetime | None) -> int | None:
    """Whole milliseconds of a time."""
    return None if at is None else (at - EPOCH) // timedelta(milliseconds=1)
