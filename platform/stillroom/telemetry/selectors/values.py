"""Single values out of long series: what a metric was at a step, for many runs at once."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import Count

from stillroom.core.tenancy import current_tenant
from stillroom.runs.models import Attempt
from stillroom.telemetry.blocks import frames_of, read_table
from stillroom.telemetry.codec import Points, decode
from stillroom.telemetry.selectors.visible import visible_points

# A chunk that ends at or before the step matters only when none ends later; one that spans it always does.
_NEAREST = """
select c.run_id, c.columns, c.blocks
  from series_chunk c join series s on s.id = c.series_id
 where c.tenant_id = %(tenant)s and c.run_id = any(%(runs)s) and s.key = %(key)s and c.step_lo <= %(step)s
   and (c.step_hi > %(step)s
        or c.step_hi = (select max(e.step_hi) from series_chunk e
                         where e.series_id = c.series_id and e.step_hi <= %(step)s))
 order by c.run_id, c.epoch, c.seq_lo
"""


def values_at(run_ids: list[str], key: str, step: int) -> dict[str, tuple[int, float]]:
    """For each run the last visible point of `key` at or before `step`, as (step, value); none: the run is left out.

    Two queries, and two for each run that was attempted more than once.
    """
    attempts = Attempt.objects.filter(run_id__in=run_ids, claimed_at__isnull=False).values("run_id")
    repeated = set(attempts.annotate(n=Count("id")).filter(n__gt=1).values_list("run_id", flat=True))
    parts: dict[str, list[Points]] = defaultdict(list)
    plain = [run_id for run_id in run_ids if run_id not in repeated]
    with connection.cursor() as cursor:
        cursor.execute(_NEAREST, {"tenant": current_tenant(), "runs": plain, "key": key, "step": step})
        for run_id, columns, blocks in cursor.fetchall():
            parts[run_id] += _near(columns, blocks, step)
    for run_id in repeated:
        points = visible_points(run_id, [key]).get(key)
        if points is not None:
            parts[run_id].append(points)
    found = {run_id: _last(Points.join(points), step) for run_id, points in parts.items()}
    return {run_id: point for run_id, point in found.items() if point is not None}


def _near(columns: Any, blocks: Any, step: int) -> list[Points]:
    if blocks is None:
        return [decode(columns)]
    table = read_table(blocks)
    ended = table["step_hi"][table["step_hi"] <= step]
    nearest = ended.max() if len(ended) else None
    wanted = (table["step_lo"] <= step) & ((table["step_hi"] > step) | (table["step_hi"] == nearest))
    frames = frames_of(columns, table)
    return [decode(frames[index]) for index in np.flatnonzero(wanted)]


def _last(points: Points, step: int) -> tuple[int, float] | None:
    points = points[points.step <= step]
    if not len(points):
        return None
    at = len(points) - 1 - int(points.step[::-1].argmax())
    return int(points.step[at]), float(points.value[at])
