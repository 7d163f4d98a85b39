"""A long series at a glance: which frames a chart needs is decided on their summaries, and only those are read.

The answer equals that of reading every point (see the property test): a frame inside one bucket gives its first,
lowest, highest and last point from the summary; a frame across an edge of buckets, of the range or of an attempt's
horizon is read. Series whose x is not in order are read whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db import connection

from stillroom.core.tenancy import current_tenant
from stillroom.telemetry.blocks import (
    FIRST,
    LAST,
    STEP_SORTED,
    TIME_SORTED,
    Table,
    read_tables,
    summarise,
)
from stillroom.telemetry.codec import Floats, Points, decode_many

STEP, TIME = "step", "micro"


class Moved(Exception):
    """Chunks were folded between two statements; read again."""


@dataclass(slots=True)
class Outline:
    """A series' frames in order of arrival: a summary of each, where it lies, and the points of those in hand."""

    key: str
    table: Table
    chunk: Any
    offset: Any
    points: dict[int, Points] = field(default_factory=dict)

    def keep(self, which: Any) -> Outline:
        """Only the frames where `which` is true."""
        places = np.flatnonzero(which)
        renamed = {int(old): new for new, old in enumerate(places)}
        points = {renamed[index]: found for index, found in self.points.items() if index in renamed}
        return Outline(self.key, self.table[places], self.chunk[places], self.offset[places], points)

    def put(self, index: int, points: Points) -> None:
        """Replace a frame by points in hand."""
        self.points[index] = points
        if len(points):
            self.table[index] = summarise(points)[0]
        else:
            self.table[index] = np.zeros(1, self.table.dtype)[0]

    def load(self, wanted: Iterable[int]) -> None:
        """Read these frames, in one query. Raises Moved."""
        missing = [index for index in wanted if index not in self.points]
        if missing:
            self.points |= dict(zip(missing, decode_many(_read(self, missing)), strict=True))

    def all_points(self) -> Points:
        """Every point, in order of arrival. At most one query."""
        self.load(range(len(self.table)))
        return Points.join([self.points[index] for index in range(len(self.table))])


def outlines(
    run_id: str, keys: Iterable[str], limits: dict[str, dict[int, int]], steps: tuple[float, float] | None = None
) -> dict[str, Outline]:
    """Each key's visible frames. `limits`: by key the last step of each epoch that counts. `steps` skips chunks.

    One query, and one more a series that was cut by a later attempt.
    """
    sql = """
        select s.key, c.id, c.epoch, c.blocks, case when c.blocks is null then c.columns end
          from series_chunk c join series s on s.id = c.series_id
         where c.tenant_id = %(tenant)s and c.run_id = %(run)s and s.key = any(%(keys)s)
    """
    values: dict[str, Any] = {"tenant": current_tenant(), "run": run_id, "keys": list(keys)}
    if steps is not None:
        sql += " and c.step_hi >= %(low)s and c.step_lo <= %(high)s"
        values |= {"low": float(steps[0]), "high": float(steps[1])}
    rows: dict[str, list[tuple[int, int, Any, Any]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(sql + " order by c.epoch, c.seq_lo", values)
        for key, chunk, epoch, blocks, columns in cursor.fetchall():
            rows[key].append((chunk, epoch, blocks, columns))
    found = {key: _outline(key, parts, limits.get(key, {})) for key, parts in rows.items()}
    return {key: outline for key, outline in found.items() if len(outline.table)}


def _outline(key: str, rows: list[tuple[int, int, Any, Any]], limits: dict[int, int]) -> Outline:
    framed = np.array([blocks is not None for _, _, blocks, _ in rows], bool)
    read, sizes = read_tables([blocks for _, _, blocks, _ in rows if blocks is not None])
    at_hand = decode_many([columns for _, _, blocks, columns in rows if blocks is None])
    counts = np.ones(len(rows), np.int64)
    counts[framed] = sizes
    starts = np.cumsum(counts) - counts
    table: np.ndarray[Any, Any] = np.zeros(int(counts.sum()), read.dtype)
    is_read = np.repeat(framed, counts)
    table[is_read] = read
    places = starts[~framed].tolist()
    for place, points in zip(places, at_hand, strict=True):
        table[place] = summarise(points)[0]
    lengths = table["length"].astype(np.int64)
    before = np.cumsum(lengths) - lengths
    chunks, epochs = (np.repeat(np.array([row[place] for row in rows], np.int64), counts) for place in (0, 1))
    offsets = before - np.repeat(before[starts], counts)
    outline = Outline(key, table, chunks, offsets, dict(zip(places, at_hand, strict=True)))
    if limits:
        _cut(outline, epochs, limits)
        return outline.keep(outline.table["n"] > 0)
    return outline


def _cut(outline: Outline, epochs: Any, limits: dict[int, int]) -> None:
    """Take away what later attempts did again."""
    table = outline.table
    crossing: list[tuple[int, int]] = []
    for epoch, limit in limits.items():
        mine = epochs == epoch
        for index in np.flatnonzero(mine & (table["step_lo"] > limit)):
            outline.put(int(index), Points.empty())
        crossing += [
            (int(index), limit) for index in np.flatnonzero(mine & (table["step_hi"] > limit) & (table["n"] > 0))
        ]
    outline.load(index for index, _ in crossing)
    for place, limit in crossing:
        points = outline.points[place]
        outline.put(place, points[points.step <= limit])


def _read(outline: Outline, wanted: list[int]) -> list[Any]:
    sql = """
        select substring(c.columns from w.at for w.length)
          from unnest(%(chunk)s::bigint[], %(at)s::int[], %(length)s::int[]) with ordinality as w(id, at, length, place)
          join series_chunk c on c.id = w.id and c.tenant_id = %(tenant)s
         order by w.place
    """
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            {
                "tenant": current_tenant(),
                "chunk": outline.chunk[wanted].tolist(),
                "at": (outline.offset[wanted] + 1).tolist(),
                "length": outline.table["length"][wanted].tolist(),
            },
        )
        rows = [row[0] for row in cursor.fetchall()]
    if len(rows) != len(wanted):
        raise Moved
    return rows


@dataclass(slots=True)
class Sketch:
    """What a line is drawn from: finite points in order of x, at least all that a bucket shows; n counts all in range.

    `whole` is True when `x`, `value` and `step` are every point in range, finite or not.
    """

    n: int
    whole: bool
    x: Floats
    value: Floats
    step: Any
    per_bucket: int = 1
    lost: Any = None
    lost_n: int = 0


def in_order(outline: Outline, axis: str) -> bool:
    """Whether x never falls from one point to the next."""
    table = outline.table
    bit = STEP_SORTED if axis == STEP else TIME_SORTED
    low, high = table[f"{axis}_lo"], table[f"{axis}_hi"]
    return bool(np.all(table["sorted"] & bit) and np.all(high[:-1] <= low[1:]))


def ordinate(columns: Any, axis: str, origin: float) -> Floats:
    """Stored steps or microseconds as x: steps, or seconds after `origin`."""
    if axis == STEP:
        return np.asarray(columns, dtype=np.float64)
    seconds: Floats = np.asarray(columns) / 1e6 - origin
    return seconds


def abscissa(points: Points, axis: str, origin: float) -> Floats:
    """The same for points in hand."""
    return points.step.astype(np.float64) if axis == STEP else points.time - origin


def sketch(
    outline: Outline, *, axis: str, origin: float, limits: tuple[float, float] | None, max_points: int, listed: int
) -> Sketch:
    """The line of a series that is in order of x: exact when it fits `max_points`, else enough for its buckets.

    Raises Moved. At most four queries.
    """
    if limits is not None:
        outline = _within(outline, axis, origin, limits)
    table = outline.table
    n, finite = int(table["n"].sum()), int(table["finite"].sum())
    if n <= max_points:
        points = outline.all_points()
        x = abscissa(points, axis, origin)
        return Sketch(n, True, x, points.value, points.step, 1, None, n - finite)
    lost = _lost(outline, listed)
    if not finite:
        return Sketch(n, False, np.empty(0), np.empty(0), np.empty(0, np.int64), 0, lost, n)
    outline = outline.keep(table["finite"] > 0)
    table = outline.table
    buckets = max(1, max_points // 4)
    first, last = (ordinate(table[axis][:, place], axis, origin) for place in (FIRST, LAST))
    low, width = first[0], (last[-1] - first[0]) / buckets
    outline.load(np.flatnonzero(bucket_of(first, low, width, buckets) != bucket_of(last, low, width, buckets)).tolist())
    return _assemble(outline, axis, origin, low, width, buckets, n, lost, n - finite)


def bucket_of(x: Floats, low: float, width: float, buckets: int) -> Any:
    """The number of the bucket in which each x lies."""
    if not width > 0:
        return np.zeros(len(x), np.int64)
    return np.minimum(((x - low) / width).astype(np.int64), buckets - 1)


def _within(outline: Outline, axis: str, origin: float, limits: tuple[float, float]) -> Outline:
    low = ordinate(outline.table[f"{axis}_lo"], axis, origin)
    high = ordinate(outline.table[f"{axis}_hi"], axis, origin)
    outline = outline.keep((high >= limits[0]) & (low <= limits[1]))
    low = ordinate(outline.table[f"{axis}_lo"], axis, origin)
    high = ordinate(outline.table[f"{axis}_hi"], axis, origin)
    crossing = np.flatnonzero((low < limits[0]) | (high > limits[1])).tolist()
    outline.load(crossing)
    for index in crossing:
        points = outline.points[index]
        x = abscissa(points, axis, origin)
        outline.put(index, points[(x >= limits[0]) & (x <= limits[1])])
    return outline.keep(outline.table["n"] > 0)


def _lost(outline: Outline, listed: int) -> Points:
    """The first `listed` points that are not finite."""
    table = outline.table
    missing = (table["n"] - table["finite"]).astype(np.int64)
    before = np.cumsum(missing) - missing
    wanted = np.flatnonzero((missing > 0) & (before < listed)).tolist()
    outline.load(wanted)
    points = Points.join([outline.points[index] for index in wanted])
    return points[~np.isfinite(points.value)][:listed]


def _assemble(
    outline: Outline,
    axis: str,
    origin: float,
    low: float,
    width: float,
    buckets: int,
    n: int,
    lost: Points,
    lost_n: int,
) -> Sketch:
    table = outline.table
    at_hand = sorted(outline.points)
    summarised = np.setdiff1d(np.arange(len(table)), at_hand)
    rows = table[summarised]
    order = np.argsort(rows["at"], axis=1, kind="stable")
    places = np.take_along_axis(rows["at"], order, axis=1)
    fresh = np.ones(places.shape, bool)
    fresh[:, 1:] = places[:, 1:] != places[:, :-1]  # one point may be first and lowest at once
    across, heights, steps = (np.take_along_axis(rows[name], order, axis=1)[fresh] for name in (axis, "value", "step"))
    points = Points.join([outline.points[index] for index in at_hand])
    owner = np.repeat(np.array(at_hand, np.int64), [len(outline.points[index]) for index in at_hand])
    finite = np.isfinite(points.value)
    points = points[finite]
    x = [ordinate(across, axis, origin), abscissa(points, axis, origin)]
    value, step = [heights, points.value], [steps, points.step]
    sequence = np.argsort(np.concatenate([np.repeat(summarised, fresh.sum(axis=1)), owner[finite]]), kind="stable")
    counts = np.bincount(bucket_of(x[1], low, width, buckets), minlength=buckets)
    first = ordinate(rows[axis][:, FIRST], axis, origin)
    np.add.at(counts, bucket_of(first, low, width, buckets), rows["finite"].astype(np.int64))
    drawn = [np.concatenate(parts)[sequence] for parts in (x, value, step)]
    return Sketch(n, False, drawn[0], drawn[1], drawn[2], int(counts.max()), lost, lost_n)
