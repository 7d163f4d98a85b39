"""How the console writes times, durations and amounts; one form everywhere."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

MINUTE, HOUR, DAY = 60, 3600, 86400
NOTHING = "–"


def span(seconds: float) -> str:
    """A duration: 22 s, 18 min, 1 h 24 min, 2 d 4 h."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        hours, rest = divmod(whole, HOUR)
        return f"{hours} h {rest // MINUTE} min" if rest >= MINUTE else f"{hours} h"
    days, rest = divmod(whole, DAY)
    return f"{days} d {rest // HOUR} h" if rest >= HOUR else f"{days} d"


def age(moment: datetime | None) -> str:
    """How long ago something was, without a suffix."""
    return NOTHING if moment is None else span((timezone.now() - moment).total_seconds())


def clock(moment: datetime | None) -> str:
    """A point in time: relative below an hour, the clock today, the date otherwise. UTC."""
    if moment is None:
        return NOTHING
    passed = (timezone.now() - moment).total_seconds()
    if 0 <= passed < HOUR:
        return f"{span(passed)} ago"
    if moment.date() == timezone.now().date():
        return moment.strftime("%H:%M")
    return f"{moment.day} {moment.strftime('%b %H:%M' if moment.year == timezone.now().year else '%b %Y')}"


def stamp(moment: datetime | None) -> str:
    """A point in time in full, UTC."""
    return NOTHING if moment is None else moment.strftime("%-d %b %Y %H:%M:%S")


def hours(device_seconds: float) -> str:
    """Device time in hours with up to four significant figures."""
    value = device_seconds / HOUR
    if value == 0:
        return "0"
    if value < 0.01:
        return "< 0.01"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 run`, `2 runs`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def memory(size_bytes: int | None) -> str:
    """A device's memory in GB of 10^9 bytes."""
    return NOTHING if not size_bytes else f"{size_bytes / 1e9:,.0f} GB"
