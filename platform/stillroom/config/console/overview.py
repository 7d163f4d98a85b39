"""The overview: is the fleet used, is it fair, what needs me."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone

from stillroom.config.console.hours import seconds_by_day
from stillroom.config.console.rows import queue_rows
from stillroom.config.console.selectors import capacity_now, needs, queue, quota_use
from stillroom.tenants.admin.wording import HOUR, hours, plural
from stillroom.tenants.models import Organisation

DAYS = 14
SERIES = 6
QUEUE_SHOWN = 12
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420, 170, 40, 20, 8


@dataclass(frozen=True, slots=True)
class Block:
    """One organisation's part of one day's bar, in the drawing's units."""

    x: float
    y: float
    width: float
    height: float
    series: int
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Device hours by day, stacked by organisation; `rows` is the same as a table."""

    blocks: list[Block]
    ticks: list[tuple[float, str]]
    days: list[tuple[float, str]]
    legend: list[tuple[int, str, str]]
    rows: list[tuple[str, list[str], str]]
    columns: list[str]
    summary: str


def overview() -> dict[str, Any]:
    """Everything that the page shows."""
    waiting = queue()
    return {
        "capacity": capacity_now(),
        "needs": needs(),
        "quotas": quota_use(),
        "chart": chart(timezone.now().date()),
        "rows": queue_rows(waiting[:QUEUE_SHOWN], reverse("admin:index")),
        "queue_total": waiting.count(),
        "queue_shown": QUEUE_SHOWN,
    }


def chart(today: date) -> Chart:
    """The bars of the last 14 days. Two queries."""
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    found = seconds_by_day(days[0], today)
    names = [(row.id, row.name) for row in Organisation.objects.order_by("created_at", "id") if row.id in found]
    drawn = [(index, key, name) for index, (key, name) in enumerate(names[:SERIES], start=1)]
    if len(names) > SERIES:
        rest: dict[date, float] = {}
        for key, _ in names[SERIES:]:
            for day, seconds in found[key].items():
                rest[day] = rest.get(day, 0) + seconds
        found["rest"] = rest
        drawn.append((SERIES + 1, "rest", f"{len(names) - SERIES} others"))
    totals = [sum(found[key].get(day, 0) for _, key, _ in drawn) / HOUR for day in days]
    top = _round_up(max(totals, default=0))
    step = (WIDTH - LEFT) / DAYS
    blocks = []
    for column, day in enumerate(days):
        floor = float(HEIGHT - BOTTOM)
        for series, key, name in drawn:
            value = found[key].get(day, 0)
            if value:
                height = value / HOUR / top * (HEIGHT - BOTTOM - TOP)
                floor -= height
                title = f"{name}, {_short(day)}: {hours(value)} device-h"
                blocks.append(Block(LEFT + column * step + 4, floor, step - 8, height, series, title))
    return Chart(
        blocks=blocks,
        ticks=[(HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP), f"{top * part:g}") for part in (0, 0.5, 1)],
        days=[(LEFT + column * step + step / 2, _short(day)) for column, day in enumerate(days) if column % 4 == 2],
        legend=[(series, name, hours(sum(found[key].values()))) for series, key, name in drawn],
        rows=[
            (name, [hours(found[key].get(day, 0)) for day in days], hours(sum(found[key].values())))
            for _, key, name in drawn
        ],
        columns=[_short(day) for day in days],
        summary=_sentence(totals, days),
    )


def _sentence(totals: list[float], days: list[date]) -> str:
    if not any(totals):
        return f"No device time in the last {DAYS} days."
    most = max(range(len(totals)), key=totals.__getitem__)
    return (
        f"{hours(sum(totals) * HOUR)} device-h in {plural(DAYS, 'day')}, "
        f"most on {_short(days[most])} with {hours(totals[most] * HOUR)}."
    )


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten; ticks then divide it evenly."""
    if value <= 0:
        return 1.0
    power = 1e-2
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return float(factor * power)
        power *= 10


def _short(day: date) -> str:
    return day.strftime("%-d %b")
