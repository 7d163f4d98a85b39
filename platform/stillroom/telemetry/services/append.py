"""Points without batch numbers: the next number is given under the run's fence, and a point is stored once.

For doors whose protocol has no sequence (MLflow's). The latest point of a series is the greatest by step, then time,
then value, in whatever order they arrive.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from django.db import connection

from stillroom.core.errors import NotFound
from stillroom.telemetry.batches import Batch
from stillroom.telemetry.codec import Floats, Points, Stack, decode, micros
from stillroom.telemetry.models import SeriesChunk
from stillroom.telemetry.services.ingest import Latest, Stored, ingest

Tip = tuple[int, float, float]
"""Step, time and value of a point; NaN counts as 0."""


@dataclass(frozen=True, slots=True)
class _Known:
    series_id: int
    last: float
    tip: Tip | None


def append(*, run_id: str, series: dict[str, Points]) -> Stored | None:
    """Store points of the open tenant's run; None when all of them were stored before.

    A run that has ended takes late points too. Raises NotFound, Invalid for too many keys. Writers of one run wait for
    each other on the fence. Five statements, more only when points come out of order.
    """
    with connection.cursor() as cursor:
        cursor.execute("select epoch, open, last_seq from run_fence where run_id = %s for update", [run_id])
        fence = cursor.fetchone()
        if fence is None:
            raise NotFound("This run")
        epoch, is_open, last_seq = fence
        cursor.execute(
            "select key, id, last, last_step, last_time from series where run_id = %s and key = any(%s)",
            [run_id, list(series)],
        )
        known = {
            key: _Known(row_id, last, None if step is None or time is None else (step, time, _plain(last)))
            for key, row_id, last, step, time in cursor.fetchall()
            if step is not None
        }
        fresh = _fresh({key: series[key] for key in sorted(series)}, known)
        if not fresh:
            return None
        stack = Stack.of(fresh)
        if not is_open:
            cursor.execute("update run_fence set open = true where run_id = %s", [run_id])
        batch = Batch(epoch, last_seq + 1, fresh, [], None, _digest(stack))
        stored = ingest(run_id=run_id, batch=batch, latest=_latest(stack, known))
        if not is_open:
            cursor.execute("update run_fence set open = false where run_id = %s", [run_id])
    return stored


def _plain(value: float) -> float:
    return 0.0 if value != value else value


def _plain_column(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


def _sorted(points: Points) -> Points:
    """In order of step, time, value; a repeated point once."""
    if len(points) == 1 or bool((points.step[1:] > points.step[:-1]).all()):
        return points
    points = points[np.lexsort((_plain_column(points.value), points.time, points.step))]
    same = (
        (np.diff(points.step) == 0)
        & (np.diff(points.time) == 0)
        & ((points.value[1:] == points.value[:-1]) | (np.isnan(points.value[1:]) & np.isnan(points.value[:-1])))
    )
    return points[np.concatenate(([True], ~same))] if same.any() else points


def _tip(points: Points, index: int) -> Tip:
    return int(points.step[index]), float(points.time[index]), _plain(float(points.value[index]))


def _fresh(series: dict[str, Points], known: dict[str, _Known]) -> dict[str, Points]:
    """What is not stored yet of each series, sorted. Looks at whole columns first: almost always all of it is new."""
    stack = Stack.of(series)
    rising = np.ones(len(stack.points), bool)
    rising[1:] = stack.points.step[1:] > stack.points.step[:-1]
    rising[stack.start] = True
    rises = np.logical_and.reduceat(rising, stack.start)
    found = {}
    for key, first, in_order in zip(series, stack.points.step[stack.start].tolist(), rises.tolist(), strict=True):
        before = known.get(key)
        if in_order and (before is None or (before.tip is not None and first > before.tip[0])):
            found[key] = series[key]
        elif len(points := _unseen(_sorted(series[key]), before)):
            found[key] = points
    return found


def _unseen(points: Points, known: _Known | None) -> Points:
    """Points that are not stored yet. Beyond the latest none can be; otherwise look into chunks with such steps."""
    if known is None or (known.tip is not None and _tip(points, 0) > known.tip):
        return points
    rows = SeriesChunk.objects.filter(
        series_id=known.series_id, step_hi__gte=int(points.step.min()), step_lo__lte=int(points.step.max())
    )
    seen = {point for columns in rows.values_list("columns", flat=True) for point in _tuples(decode(columns))}
    if not seen:
        return points
    return points[np.array([point not in seen for point in _tuples(points)], dtype=bool)]


def _tuples(points: Points) -> list[tuple[int, int, float | str]]:
    """Comparable forms; times in microseconds, as they are stored."""
    values = [value if value == value else "NaN" for value in points.value.tolist()]
    return list(zip(points.step.tolist(), micros(points.time).tolist(), values, strict=True))


def _digest(stack: Stack) -> bytes:
    digest = hashlib.sha256("\0".join(stack.keys).encode())
    for column in (stack.start, stack.points.step, stack.points.value, stack.points.time):
        digest.update(column.tobytes())
    return digest.digest()


def _latest(stack: Stack, known: dict[str, _Known]) -> Latest:
    """The greatest point of each series by step, time and value, of those stored before and now."""
    tips = stack.points[stack.last]
    value, step, time = tips.value, tips.step, tips.time
    for place, key in enumerate(stack.keys):
        before = known.get(key)
        if before is not None and before.tip is not None and before.tip > _tip(tips, place):
            (step[place], time[place], _), value[place] = before.tip, before.last
    return Latest(value, step, time)
