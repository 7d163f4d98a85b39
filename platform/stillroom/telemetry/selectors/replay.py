"""What a live view needs to begin: a snapshot at (epoch, seq), or the batches since one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from django.db import connection
from django.db.models import QuerySet, Sum

from stillroom.runs.models import Attempt, RunFence
from stillroom.telemetry.blocks import decode_chunk
from stillroom.telemetry.codec import Points
from stillroom.telemetry.models import LogChunk, SeriesChunk
from stillroom.telemetry.selectors.charts import m4
from stillroom.telemetry.selectors.logs import read_chunk
from stillroom.telemetry.selectors.visible import visible_parts, visible_points
from stillroom.telemetry.services.ingest import delta_frame

MAX_REPLAYED_BATCHES = 2000
MAX_REPLAYED_POINTS = 200_000
# More than this is never in memory at once for one viewer, however long the run.
MAX_WHOLE_POINTS = 2_000_000
PIECE_POINTS = 50_000
SNAPSHOT_LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run's stream has come."""

    epoch: int
    seq: int


def position(run_id: str) -> Position | None:
    """The stream's head. One query."""
    row = RunFence.objects.filter(run_id=run_id).values_list("epoch", "last_seq").first()
    return Position(*row) if row else None


def snapshot(run_id: str, *, keys: list[str] | None, max_points: int) -> tuple[Position, bytes]:
    """Everything visible now, at most about `max_points` a series with extremes kept, and the position it is true for.

    The fence row is read under a share lock: a batch that commits meanwhile waits, so that no point of a later batch
    slips in.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select epoch, last_seq, progress, log_lines from run_fence where run_id = %s for share", [run_id]
        )
        epoch, seq, progress, log_lines = cursor.fetchone()
    if _stored_points(SeriesChunk.objects.filter(run_id=run_id)) <= MAX_WHOLE_POINTS:
        series = {key: _thin(points, max_points) for key, points in visible_points(run_id, keys).items()}
    else:
        series = _thinned_on_the_way(run_id, keys, max_points)
    chunks = LogChunk.objects.filter(run_id=run_id, first_line__lt=log_lines).order_by("-first_line")
    logs: list[dict[str, Any]] = []
    for chunk in chunks[:SNAPSHOT_LOG_LINES]:
        logs = read_chunk(chunk) + logs
        if len(logs) >= SNAPSHOT_LOG_LINES:
            break
    resume = Attempt.objects.filter(run_id=run_id, epoch=epoch).values_list("resume_step", flat=True).first()
    frame = delta_frame(
        run_id=run_id,
        epoch=epoch,
        first=0,
        last=seq,
        series=series,
        logs=logs[-SNAPSHOT_LOG_LINES:],
        progress=orjson.loads(progress) if isinstance(progress, str) else progress,
        kind="snapshot",
        resume_step=resume,
    )
    return Position(epoch, seq), frame


def _stored_points(chunks: QuerySet[SeriesChunk]) -> int:
    return int(chunks.aggregate(total=Sum("n"))["total"] or 0)


def _thinned_on_the_way(run_id: str, keys: list[str] | None, max_points: int) -> dict[str, Points]:
    """Each series thinned whenever a piece of it has come; what is lowest or highest of a piece stays to the end."""
    found: dict[str, Points] = {}
    waiting: dict[str, list[Points]] = defaultdict(list)

    def settle(key: str) -> None:
        found[key] = _thin(Points.join([*([found[key]] if key in found else []), *waiting.pop(key)]), max_points)

    for key, points in visible_parts(run_id, keys):
        waiting[key].append(points)
        if sum(map(len, waiting[key])) >= PIECE_POINTS:
            settle(key)
        for done in [other for other in waiting if other != key]:
            settle(done)
    for key in list(waiting):
        settle(key)
    return found


def _thin(points: Points, max_points: int) -> Points:
    if len(points) <= max_points:
        return points
    order = np.argsort(points.step, kind="stable")
    points = points[order]
    finite = np.isfinite(points.value)
    kept, _ = m4(points.step[finite].astype(np.float64), points.value[finite], max(1, max_points // 4))
    chosen = np.sort(np.concatenate((np.flatnonzero(finite)[kept], np.flatnonzero(~finite)[:100])))
    return points[chosen]


def deltas(run_id: str, since: Position, until: int) -> list[bytes] | None:
    """One frame per batch after `since` up to `until`, in order; None when there is too much to be worth it. Three
    queries.
    """
    if until - since.seq > MAX_REPLAYED_BATCHES:
        return None
    series: dict[int, dict[str, Points]] = defaultdict(dict)
    rows = SeriesChunk.objects.filter(run_id=run_id, epoch=since.epoch, seq_hi__gt=since.seq, seq_lo__lte=until)
    if _stored_points(rows) > MAX_REPLAYED_POINTS:
        return None
    fields = ("series__key", "seq_lo", "seq_hi", "columns", "blocks")
    for key, low, high, columns, blocks in rows.values_list(*fields):
        if low != high:  # folded meanwhile: its batches cannot be told apart any more, a snapshot can
            return None
        series[low][key] = decode_chunk(columns, blocks)
    logs: dict[int, list[dict[str, Any]]] = {
        chunk.seq: read_chunk(chunk)
        for chunk in LogChunk.objects.filter(run_id=run_id, epoch=since.epoch, seq__gt=since.seq, seq__lte=until)
    }
    return [
        delta_frame(
            run_id=run_id,
            epoch=since.epoch,
            first=seq,
            last=seq,
            series=series.get(seq, {}),
            logs=logs.get(seq, []),
            progress=None,
        )
        for seq in range(since.seq + 1, until + 1)
    ]
