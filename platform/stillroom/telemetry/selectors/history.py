"""Every point of a series as rows: a whole history in pages, or an interval of steps thinned with extremes kept."""

from __future__ import annotations

import numpy as np

from stillroom.telemetry.codec import Points
from stillroom.telemetry.selectors.charts import m4
from stillroom.telemetry.selectors.visible import visible_points


def history(run_id: str, key: str, *, first: int | None = None) -> Points:
    """The first `first` points that arrived (all: None), in order of time, step and value. Two queries."""
    points = visible_points(run_id, [key]).get(key, Points.empty())
    if first is not None:
        points = points[:first]
    if len(points) < 2:
        return points
    return points[np.lexsort((points.value, points.step, points.time))]


def interval(run_id: str, key: str, *, low: int | None, high: int | None, most: int) -> Points:
    """At most `most` points with steps in [low, high], ascending: the first, the last, each part's extremes, and evenly
    spread ones up to `most`.
    """
    points = visible_points(run_id, [key]).get(key, Points.empty())
    if low is not None and high is not None:
        points = points[(points.step >= low) & (points.step <= high)]
    if not len(points):
        return points
    points = points[np.lexsort((points.value, points.time, points.step))]
    if len(points) <= most:
        return points
    chosen = np.zeros(len(points), bool)
    chosen[[0, -1] if most > 1 else -1] = True
    if most >= 6:
        finite = np.flatnonzero(np.isfinite(points.value))
        kept, _ = m4(points.step[finite].astype(np.float64), points.value[finite], (most - 2) // 4)
        chosen[finite[kept]] = True
    rest = np.flatnonzero(~chosen)
    chosen[rest[np.linspace(0, len(rest) - 1, most - int(chosen.sum())).astype(np.int64)]] = True
    return points[chosen]
