"""Chart queries: exact when it fits, otherwise first, minimum, maximum and last of each bucket. No extreme is ever
lost.

Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from models_core.events import encode_float
from stillroom.core.intervals import t95
from stillroom.runs.models import Run
from stillroom.telemetry.codec import Floats, Points
from stillroom.telemetry.selectors.frames import (
    STEP,
    TIME,
    Moved,
    Sketch,
    abscissa,
    bucket_of,
    in_order,
    outlines,
    sketch,
)
from stillroom.telemetry.selectors.visible import horizons, limit_of, visible_points

MAX_LISTED_NON_FINITE = 100
AXES = ("step", "relative", "time")
BY_SPEC = "spec"
TRIES = 3


@dataclass(frozen=True, slots=True)
class ChartQuery:
    """Which series, against which x, in which range and resolution. `x` is step, relative, time, or another key.

    group: "" for none, "spec" for all but the seed, or a dotted path into the spec. band: interval (95 %) or stderr.
    """

    runs: list[str]
    keys: list[str]
    x: str = "step"
    range: tuple[float, float] | None = None
    max_points: int = 1000
    group: str = ""
    band: str = "interval"


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
    """Runs of one group: mean and band at each x, with the number of runs behind it.

    `label` is the group's value of the spec path, or the arm's name; `spec_hash` is empty when specs differ inside.
    """

    spec_hash: str
    key: str
    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    n: Floats
    label: str = ""


@dataclass(slots=True)
class Chart:
    """The answer to a chart query."""

    series: list[ChartSeries] = field(default_factory=list)
    groups: list[ChartGroup] = field(default_factory=list)


def chart(query: ChartQuery, runs: list[Run]) -> Chart:
    """Answer a query over runs of the open tenant. In groups a seed of a spec counts once, with its newest run.

    At most three queries a run and four a series that does not fit; two a run when all points are read.
    """
    answer = Chart()
    lines: dict[tuple[str, str], dict[tuple[str, int], tuple[Floats, Floats]]] = {}
    hashes: dict[str, set[str]] = {}
    for run in sorted(runs, key=lambda run: run.created_at):
        if not query.group and query.x in AXES:
            answer.series += _sketched(query, run)
            continue
        wanted = set(query.keys) | ({query.x} if query.x not in AXES else set())
        points = visible_points(run.id, wanted)
        label = _group_of(run, query.group)
        hashes.setdefault(label, set()).add(run.spec_hash)
        for key in query.keys:
            if key not in points:
                continue
            x, value, step = _within(*_against(points, key, query.x), query.range)
            answer.series.append(_line(run.id, key, x, value, step, query.max_points))
            if query.group:
                finite = np.isfinite(value)
                member = (run.spec_hash or run.id, run.seed)
                lines.setdefault((label, key), {})[member] = (x[finite], value[finite])
    for (label, key), by_seed in lines.items():
        group = _band("", key, list(by_seed.values()), query.max_points, query.band)
        of_one = hashes[label]
        group.spec_hash, group.label = next(iter(of_one)) if len(of_one) == 1 else "", label
        if query.group == BY_SPEC:
            group.label = next((run.arm for run in runs if _group_of(run, BY_SPEC) == label and run.arm), "")
            group.spec_hash = label
        answer.groups.append(group)
    return answer


def _group_of(run: Run, group: str) -> str:
    if group in ("", BY_SPEC):
        return run.spec_hash or run.id
    value: Any = run.spec
    for part in group.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _sketched(query: ChartQuery, run: Run) -> list[ChartSeries]:
    """The run's lines from the summaries of its frames; from all points when folding keeps moving them."""
    for _ in range(TRIES):
        try:
            return _from_outlines(query, run)
        except Moved:
            continue
    points = visible_points(run.id, query.keys)
    return [
        _line(run.id, key, *_within(*_against(points, key, query.x), query.range), query.max_points)
        for key in query.keys
        if key in points
    ]


def _from_outlines(query: ChartQuery, run: Run) -> list[ChartSeries]:
    limits = horizons(run.id)
    by_key = {
        key: {epoch: limit for epoch in limits if (limit := limit_of(limits, epoch, key)) is not None}
        for key in query.keys
    }
    found = outlines(run.id, query.keys, by_key, query.range if query.x == "step" else None)
    origin = 0.0
    if query.x == "relative" and found:
        for outline in found.values():
            outline.load([0])
        origin = min(float(outline.points[0].time[0]) for outline in found.values())
    axis = STEP if query.x == "step" else TIME
    lines = []
    for key in query.keys:
        if key not in found:
            continue
        if not in_order(found[key], axis):
            everything = {key: found[key].all_points()}
            x, value, step = _against(everything, key, query.x, origin)
            lines.append(_line(run.id, key, *_within(x, value, step, query.range), query.max_points))
            continue
        drawn = sketch(
            found[key],
            axis=axis,
            origin=origin,
            limits=query.range,
            max_points=query.max_points,
            listed=MAX_LISTED_NON_FINITE,
        )
        lines.append(_drawn(run.id, key, drawn, query.max_points, axis, origin))
    return lines


def _drawn(run_id: str, key: str, drawn: Sketch, max_points: int, axis: str, origin: float) -> ChartSeries:
    if drawn.whole:
        return _line(run_id, key, drawn.x, drawn.value, drawn.step, max_points)
    picked, _ = m4(drawn.x, drawn.value, max(1, max_points // 4))
    lost = drawn.lost
    listed = _listed(abscissa(lost, axis, origin), lost.value, lost.step)
    return ChartSeries(
        run_id, key, drawn.n, False, drawn.per_bucket, drawn.x[picked], drawn.value[picked], listed, drawn.lost_n
    )


def _listed(x: Floats, value: Floats, step: Any) -> list[dict[str, Any]]:
    return [
        {"step": int(at), "x": float(across), "value": encode_float(float(height))}
        for at, across, height in zip(step, x, value, strict=True)
    ]


def _against(points: dict[str, Points], key: str, axis: str, origin: float | None = None) -> tuple[Floats, Floats, Any]:
    found = points[key]
    if axis == "step":
        x = found.step.astype(np.float64)
    elif axis == "time":
        x = found.time
    elif axis == "relative":
        x = found.time - (min(series.time[0] for series in points.values()) if origin is None else origin)
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
    shown = lost[:MAX_LISTED_NON_FINITE]
    listed = _listed(x[shown], value[shown], step[shown])
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
    bucket = bucket_of(x, x[0], width, buckets)
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


def _band(
    spec_hash: str, key: str, lines: list[tuple[Floats, Floats]], max_points: int, band: str = "interval"
) -> ChartGroup:
    """Mean and band over runs. Each run counts once at each x: its own value there, or its mean in the bucket."""
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
    factors = {int(count): t95(int(count) - 1) if count > 1 else 0.0 for count in np.unique(n)}
    factor = np.array([factors[int(count)] for count in n]) if band == "interval" else 1.0
    half = factor * spread / np.sqrt(n)
    return ChartGroup(spec_hash, key, grid, mean, mean - half, mean + half, n.astype(np.float64))
