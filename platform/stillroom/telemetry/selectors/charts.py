"""Chart queries: exact when it fits, otherwise first, minimum, maximum and last of each bucket. No extreme is ever
lost.

Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models_core.events import encode_float
from stillroom.core.intervals import t95
from stillroom.runs.models import Run
from stillroom.telemetry.codec import Floats, Points
from stillroom.telemetry.selectors.visible import visible_points

MAX_LISTED_NON_FINITE = 100


@dataclass(frozen=True, slots=True)
class ChartQuery:
    """Which series, against which x, in which range and resolution. `x` is step, relative, time, or another key."""

    runs: list[str]
    keys: list[str]
    x: str = "step"
    range: tuple[float, float] | None = None
    max_points: int = 1000
    group: bool = False


@dataclass(slots=True)
class ChartSeries:
    """One line: x and value in order of x. `exact` is False when buckets were drawn from `n` points."""

    run: str
    key: str
    n: int
    exact: bool
    per_bucket: int
    x: Floats
    value: Floats
    non_finite: list[dict[str, Any]]
    non_finite_n: int


@dataclass(slots=True)
class ChartGroup:
    """Runs that differ by seed alone: mean and 95 % interval at each x, with the number of runs behind it."""

    spec_hash: str
    key: str
    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    n: Floats


@dataclass(slots=True)
class Chart:
    """The answer to a chart query."""

    series: list[ChartSeries] = field(default_factory=list)
    groups: list[ChartGroup] = field(default_factory=list)


def chart(query: ChartQuery, runs: list[Run]) -> Chart:
    """Answer a query over runs of the open tenant. In groups a seed counts once, with its newest run.

    Two queries a run.
    """
    answer = Chart()
    lines: dict[tuple[str, str], dict[int, tuple[Floats, Floats]]] = {}
    for run in sorted(runs, key=lambda run: run.created_at):
        wanted = set(query.keys) | ({query.x} if query.x not in ("step", "relative", "time") else set())
        points = visible_points(run.id, wanted)
        for key in query.keys:
            if key not in points:
                continue
            x, value, step = _against(points, key, query.x)
            x, value, step = _within(x, value, step, query.range)
            answer.series.append(_line(run.id, key, x, value, step, query.max_points))
            if query.group:
                finite = np.isfinite(value)
                lines.setdefault((run.spec_hash or run.id, key), {})[run.seed] = (x[finite], value[finite])
    answer.groups = [
        _band(spec_hash, key, list(by_seed.values()), query.max_points) for (spec_hash, key), by_seed in lines.items()
    ]
    return answer


def _against(points: dict[str, Points], key: str, axis: str) -> tuple[Floats, Floats, Any]:
    found = points[key]
    if axis == "step":
        x = found.step.astype(np.float64)
    elif axis == "time":
        x = found.time
    elif axis == "relative":
        x = found.time - min(series.time[0] for series in points.values())
    else:
        other = points.get(axis, Points.empty())
        order = np.argsort(other.step, kind="stable")
        steps, values = other.step[order], other.value[order]
        at = np.searchsorted(steps, found.step, side="right") - 1
        matched = (at >= 0) & (steps[np.maximum(at, 0)] == found.step) if len(steps) else np.zeros(len(found), bool)
        found = found[matched]
        x = values[at[matched]] if len(steps) else np.empty(0)
        found = found[np.isfinite(x)]
        x = x[np.isfinite(x)]
    if len(x) > 1 and np.any(np.diff(x) < 0):
        order = np.argsort(x, kind="stable")
        return x[order], found.value[order], found.step[order]
    return x, found.value, found.step


def _within(x: Floats, value: Floats, step: Any, limits: tuple[float, float] | None) -> tuple[Floats, Floats, Any]:
    if limits is None:
        return x, value, step
    low, high = np.searchsorted(x, limits[0], "left"), np.searchsorted(x, limits[1], "right")
    return x[low:high], value[low:high], step[low:high]


def _line(run_id: str, key: str, x: Floats, value: Floats, step: Any, max_points: int) -> ChartSeries:
    finite = np.isfinite(value)
    lost = np.flatnonzero(~finite)
    listed = [
        {"step": int(step[i]), "x": float(x[i]), "value": encode_float(float(value[i]))}
        for i in lost[:MAX_LISTED_NON_FINITE]
    ]
    n = len(x)
    if n <= max_points:
        return ChartSeries(run_id, key, n, True, 1, x, value, listed, len(lost))
    picked, per_bucket = m4(x[finite], value[finite], max(1, max_points // 4))
    return ChartSeries(run_id, key, n, False, per_bucket, x[finite][picked], value[finite][picked], listed, len(lost))


def m4(x: Floats, value: Floats, buckets: int) -> tuple[Any, int]:
    """Indices of the first, lowest, highest and last point of each of `buckets` equal ranges of x, and the fullest
    bucket's size.

    `x` is sorted and `value` finite. At most four indices a bucket, in order.
    """
    if not len(x):
        return np.empty(0, np.int64), 0
    width = (x[-1] - x[0]) / buckets
    bucket = np.minimum(((x - x[0]) / width).astype(np.int64), buckets - 1) if width > 0 else np.zeros(len(x), np.int64)
    starts = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
    sizes = np.diff(np.concatenate((starts, [len(x)])))
    owner = np.repeat(np.arange(len(starts)), sizes)
    low = _first_where(value == np.repeat(np.minimum.reduceat(value, starts), sizes), owner)
    high = _first_where(value == np.repeat(np.maximum.reduceat(value, starts), sizes), owner)
    return np.unique(np.concatenate((starts, low, high, starts + sizes - 1))), int(sizes.max())


def _first_where(hit: Any, owner: Any) -> Any:
    at = np.flatnonzero(hit)
    _, first = np.unique(owner[at], return_index=True)
    return at[first]


def _band(spec_hash: str, key: str, lines: list[tuple[Floats, Floats]], max_points: int) -> ChartGroup:
    """Mean and interval over runs. Each run counts once at each x: its own value there, or its mean in the bucket."""
    grid = np.unique(np.concatenate([x for x, _ in lines])) if lines else np.empty(0)
    if len(grid) > max_points:
        edges = np.linspace(grid[0], grid[-1], max_points + 1)
        grid = (edges[:-1] + edges[1:]) / 2
        places = [np.clip(np.searchsorted(edges, x, "right") - 1, 0, max_points - 1) for x, _ in lines]
    else:
        places = [np.searchsorted(grid, x) for x, _ in lines]
    table = np.full((len(lines), len(grid)), np.nan)
    for row, place, (_, value) in zip(table, places, lines, strict=True):
        count = np.bincount(place, minlength=len(grid))
        total = np.bincount(place, weights=value, minlength=len(grid))
        np.divide(total, count, out=row, where=count > 0)
    n = np.sum(~np.isnan(table), axis=0)
    kept = n > 0
    table, grid, n = table[:, kept], grid[kept], n[kept]
    mean = np.nansum(table, axis=0) / n
    spread = np.sqrt(np.nansum((table - mean) ** 2, axis=0) / np.maximum(n - 1, 1))
    factor = np.array([t95(int(count) - 1) if count > 1 else 0.0 for count in n])
    half = factor * spread / np.sqrt(n)
    return ChartGroup(spec_hash, key, grid, mean, mean - half, mean + half, n.astype(np.float64))
