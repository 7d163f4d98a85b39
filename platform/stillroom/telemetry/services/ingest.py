"""Ingest: one transaction per numbered batch. One SQL update is fence, dedupe and order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import zstandard
from django.conf import settings
from django.db import connection

from stillroom.core.arrays import FLOAT8, INT2, INT4, INT8, array_cursor, blobs, numbers, texts
from stillroom.core.errors import Conflict, Invalid, NotFound
from stillroom.core.frames import encode_frame
from stillroom.core.tenancy import current_tenant
from stillroom.runs.models import RunFence, Series
from stillroom.telemetry.batches import Batch
from stillroom.telemetry.blocks import encode_chunks
from stillroom.telemetry.codec import Floats, Ints, Points, Stack
from stillroom.telemetry.selectors.visible import visible_points

IDLE_FLUSH_MS, WATCHED_FLUSH_MS = 1000, 200


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer to a batch: the last batch stored, what the sender shall do, and the frame for viewers (None: a
    repetition).
    """

    last_seq: int
    intent: str
    project_id: str
    frame: bytes | None


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest point of each series of a batch, in its order. `time` is None when it is not known to be the latest
    by time as well.
    """

    value: Floats
    step: Ints
    time: Floats | None


_ADVANCE = """
update run_fence f set last_seq = %(seq)s, last_hash = %(hash)s, ingested_at = clock_timestamp(),
       progress = coalesce(%(progress)s::jsonb, f.progress), log_lines = f.log_lines + %(lines)s
  from run r
 where f.run_id = %(run)s and r.id = f.run_id and f.epoch = %(epoch)s and f.open and f.last_seq = %(seq)s - 1
returning f.log_lines, f.key_count, r.intent, r.project_id
"""

# `last` follows the last point that arrived; `low` and `high` are over finite values. Key order keeps writers from
# deadlock.
_SUMMARISE = """
insert into series
       (tenant_id, run_id, key, n, last, last_step, last_time, low, low_step, high, high_step, non_finite)
select %(tenant)s::text, %(run)s::text, * from unnest(%(key)s::text[], %(n)s::bigint[], %(last)s::float8[],
       %(last_step)s::bigint[], %(last_time)s::float8[], %(low)s::float8[], %(low_step)s::bigint[],
       %(high)s::float8[], %(high_step)s::bigint[], %(non_finite)s::bigint[])
 order by 3
on conflict (run_id, key) do update set
       n = series.n + excluded.n, last = excluded.last, last_step = excluded.last_step,
       last_time = excluded.last_time,
       low = least(series.low, excluded.low), high = greatest(series.high, excluded.high),
       low_step = case when series.low <= excluded.low or excluded.low is null
                       then series.low_step else excluded.low_step end,
       high_step = case when series.high >= excluded.high or excluded.high is null
                        then series.high_step else excluded.high_step end,
       non_finite = series.non_finite + excluded.non_finite
returning key, id, (xmax = 0)
"""

_STORE = """
insert into series_chunk
       (tenant_id, run_id, series_id, epoch, seq_lo, seq_hi, n, step_lo, step_hi, low, high, codec, columns,
        blocks)
select %(tenant)s::text, %(run)s::text, c.series_id, %(epoch)s::bigint, %(seq)s::bigint, %(seq)s::bigint, c.n,
       c.step_lo, c.step_hi, c.low, c.high,
       c.codec, c.columns, c.blocks
  from unnest(%(series)s::bigint[], %(n)s::int[], %(step_lo)s::bigint[], %(step_hi)s::bigint[], %(low)s::float8[],
       %(high)s::float8[], %(codec)s::smallint[], %(columns)s::bytea[], %(blocks)s::bytea[])
       as c(series_id, n, step_lo, step_hi, low, high, codec, columns, blocks)
"""


def ingest(*, run_id: str, batch: Batch, latest: Latest | None = None) -> Stored:
    """Store a batch of the open tenant's run once, or say why not.

    Raises Conflict with code ingest.stale_epoch, ingest.gap (with `last_seq`) or ingest.seq_conflict; NotFound;
    Invalid when
    the run has too many keys. The caller publishes `frame` after commit. Four statements for any number of series.
    latest: what becomes the series' latest points; without it the last of the batch.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _ADVANCE,
            {
                "run": run_id,
                "epoch": batch.epoch,
                "seq": batch.seq,
                "hash": batch.digest,
                "progress": orjson.dumps(batch.progress).decode() if batch.progress else None,
                "lines": len(batch.logs),
            },
        )
        row = cursor.fetchone()
        if row is None:
            return _explain(run_id, batch)
        log_lines, key_count, intent, project_id = row
        if batch.seq == 1 and batch.epoch > 1:
            _rebuild_summaries(run_id)
        if batch.series:
            _write_series(run_id, batch, key_count, latest)
        first_line = log_lines - len(batch.logs)
        if batch.logs:
            _write_logs(cursor, run_id, batch, first_line)
    return Stored(batch.seq, intent, project_id, _frame(run_id, batch, first_line))


def _explain(run_id: str, batch: Batch) -> Stored:
    """Why the update changed nothing. Order matters: epoch, repetition, closed, gap."""
    fence = RunFence.objects.select_related("run").filter(run_id=run_id).first()
    if fence is None:
        raise NotFound("This run")
    if fence.epoch != batch.epoch:
        raise Conflict(f"Attempt {batch.epoch} of this run is over.", code="ingest.stale_epoch", epoch=fence.epoch)
    if fence.last_seq >= batch.seq:
        if fence.last_seq == batch.seq and bytes(fence.last_hash or b"") != batch.digest:
            message = f"Batch {batch.seq} was stored with other content. Two writers?"
            raise Conflict(message, code="ingest.seq_conflict", last_seq=fence.last_seq)
        return Stored(fence.last_seq, fence.run.intent, fence.run.project_id, None)
    if not fence.open:
        raise Conflict("This attempt is over.", code="ingest.stale_epoch", epoch=fence.epoch)
    message = f"Batch {batch.seq} came after {fence.last_seq}. Send from {fence.last_seq + 1}."
    raise Conflict(message, code="ingest.gap", last_seq=fence.last_seq)


def _write_series(run_id: str, batch: Batch, key_count: int, latest: Latest | None) -> None:
    named = {"tenant": current_tenant(), "run": run_id}
    stack = Stack.of(batch.series)
    found = summarised(stack)
    low_there, high_there = ~np.isnan(found["low"]), ~np.isnan(found["high"])
    tip = latest or Latest(found["last"], found["last_step"], None)
    nowhen = np.zeros(len(stack.keys), bool)
    summary = {
        "key": texts(stack.keys),
        "n": numbers(stack.length, INT8),
        "last": numbers(tip.value, FLOAT8),
        "last_step": numbers(tip.step, INT8),
        "last_time": numbers(nowhen, FLOAT8, there=nowhen) if tip.time is None else numbers(tip.time, FLOAT8),
        "low": numbers(found["low"], FLOAT8, there=low_there),
        "low_step": numbers(found["low_step"], INT8, there=low_there),
        "high": numbers(found["high"], FLOAT8, there=high_there),
        "high_step": numbers(found["high_step"], INT8, there=high_there),
        "non_finite": numbers(found["non_finite"], INT8),
    }
    cursor = array_cursor()
    cursor.execute(_SUMMARISE, {**named, **summary})
    rows = cursor.fetchall()
    fresh = sum(1 for _, _, is_new in rows if is_new)
    if fresh:
        if key_count + fresh > settings.ENV.max_keys:
            message = f"A run may have at most {settings.ENV.max_keys} metric keys."
            raise Invalid(message, fields={"series": message}, code="ingest.too_many_keys")
        cursor.execute("update run_fence set key_count = key_count + %s where run_id = %s", [fresh, run_id])
    ids = {key: series_id for key, series_id, _ in rows}
    chunks = encode_chunks(list(batch.series.values()))
    cursor.execute(
        _STORE,
        {
            **named,
            "epoch": batch.epoch,
            "seq": batch.seq,
            "series": numbers([ids[key] for key in stack.keys], INT8),
            "n": numbers(stack.length, INT4),
            "step_lo": numbers(np.minimum.reduceat(stack.points.step, stack.start), INT8),
            "step_hi": numbers(np.maximum.reduceat(stack.points.step, stack.start), INT8),
            "low": summary["low"],
            "high": summary["high"],
            "codec": numbers([chunk.codec for chunk in chunks], INT2),
            "columns": blobs([chunk.columns for chunk in chunks]),
            "blocks": blobs([chunk.blocks for chunk in chunks]),
        },
    )
    cursor.close()


def summarised(stack: Stack) -> dict[str, Any]:
    """Columns over the series: last point, lowest and highest finite one (NaN: none), how many are not finite."""
    value, step = stack.points.value, stack.points.step
    finite = np.isfinite(value)
    columns: dict[str, Any] = {
        "last": value[stack.last],
        "last_step": step[stack.last],
        "non_finite": np.add.reduceat(~finite, stack.start, dtype=np.int64),
    }
    for name, extreme, absent in (("low", np.minimum, np.inf), ("high", np.maximum, -np.inf)):
        best = extreme.reduceat(np.where(finite, value, absent), stack.start)
        owners, places = stack.first_where(finite & (value == np.repeat(best, stack.length)))
        columns[name] = np.full(len(stack.keys), np.nan)
        columns[f"{name}_step"] = np.zeros(len(stack.keys), np.int64)
        columns[name][owners], columns[f"{name}_step"][owners] = value[places], step[places]
    return columns


def _write_logs(cursor: Any, run_id: str, batch: Batch, first_line: int) -> None:
    body = zstandard.ZstdCompressor(level=3).compress(orjson.dumps(batch.logs))
    cursor.execute(
        "insert into log_chunk (tenant_id, run_id, epoch, seq, first_line, n, lines) "
        "values (%s, %s, %s, %s, %s, %s, %s)",
        [current_tenant(), run_id, batch.epoch, batch.seq, first_line, len(batch.logs), body],
    )


def _rebuild_summaries(run_id: str) -> None:
    """A new attempt began behind points of the old one: summaries count only what stays visible."""
    for row in Series.objects.filter(run_id=run_id).order_by("key"):
        points = visible_points(run_id, [row.key]).get(row.key, Points.empty())
        if len(points):
            columns = summarised(Stack.of({row.key: points}))
            changes: dict[str, Any] = {name: values[0].item() for name, values in columns.items()}
            changes["n"] = len(points)
            for name in ("low", "high"):
                if np.isnan(changes[name]):
                    changes[name] = changes[f"{name}_step"] = None
        else:
            changes = {
                "n": 0,
                "non_finite": 0,
                **dict.fromkeys(("last", "last_step", "low", "low_step", "high", "high_step")),
            }
        Series.objects.filter(id=row.id).update(**changes)


def _frame(run_id: str, batch: Batch, first_line: int) -> bytes:
    """The delta that live viewers get, encoded once."""
    return delta_frame(
        run_id=run_id,
        epoch=batch.epoch,
        first=batch.seq,
        last=batch.seq,
        series=batch.series,
        logs=[{"n": first_line + index, "epoch": batch.epoch, **line} for index, line in enumerate(batch.logs)],
        progress=batch.progress,
    )


def delta_frame(
    *,
    run_id: str,
    epoch: int,
    first: int,
    last: int,
    series: dict[str, Points],
    logs: list[dict[str, Any]],
    progress: dict[str, Any] | None,
    kind: str = "delta",
    resume_step: int | None = None,
) -> bytes:
    """A live frame for batches `first` to `last` (see docs/reference/wire.md, section 5)."""
    header = {
        "type": kind,
        "run": run_id,
        "epoch": epoch,
        "from": first,
        "to": last,
        "resume_step": resume_step,
        "series": [{"key": key, "n": len(points)} for key, points in series.items()],
        "logs": logs,
        "progress": progress,
    }
    return encode_frame(header, [interleaved(Stack.of(series))] if series else [])


def interleaved(stack: Stack) -> Floats:
    """One column: steps, values and times of the first series, then those of the second and so on."""
    out = np.empty(3 * len(stack.points))
    place = np.arange(len(stack.points)) + 2 * np.repeat(stack.start, stack.length)
    shift = np.repeat(stack.length, stack.length)
    out[place], out[place + shift], out[place + 2 * shift] = stack.points.step, stack.points.value, stack.points.time
    return out
