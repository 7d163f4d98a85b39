"""Folding: small chunks of a series become few long ones. What a reader sees never changes.

One transaction a series and epoch: the rows are locked, joined, encoded, decoded again and compared, and only then
replaced. A crash leaves either the old rows or the new one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import structlog
from django.db.models import F, Q
from django.db.models.functions import Greatest, Least, Now

from stillroom.core.tenancy import sched_tx, tenant_tx
from stillroom.runs.models import RunFence
from stillroom.telemetry.blocks import decode_chunk, encode_chunk
from stillroom.telemetry.codec import Points
from stillroom.telemetry.models import SeriesChunk

log = structlog.get_logger(__name__)

# A chunk of this many points is never touched again.
FULL = 8192
# A live run's newest batches stay as they came, so that viewers can be sent them one by one.
LIVE_BATCHES = 128
MIN_LIVE_CHUNKS = 32
RUNS_A_PASS = 50
LIVE_PAUSE = timedelta(seconds=60)


def fold_pass(*, stop: Any = None) -> int:
    """Fold runs that have been written since they were folded last; returns how many chunks are gone."""
    with sched_tx():
        changed = RunFence.objects.filter(ingested_at__isnull=False).filter(
            Q(folded_at__isnull=True)
            | Q(folded_at__lt=Greatest("ingested_at", "run__ended_at"), open=False)
            | Q(folded_at__lt=Least(F("ingested_at"), Now() - LIVE_PAUSE))
        )
        rows = list(changed.order_by("ingested_at").values_list("tenant_id", "run_id")[:RUNS_A_PASS])
    gone = 0
    for tenant_id, run_id in rows:
        if stop is not None and stop.is_set():
            break
        gone += run_fold(tenant_id=tenant_id, run_id=run_id)
    return gone


def run_fold(*, tenant_id: str, run_id: str) -> int:
    """Fold one run's series; returns how many chunks are gone. Folding again changes nothing."""
    with tenant_tx(tenant_id):
        fence = RunFence.objects.filter(run_id=run_id).annotate(now=Now()).first()
        if fence is None:
            return 0
        began = fence.now
        newest = fence.last_seq - LIVE_BATCHES if fence.open else fence.last_seq
        small = SeriesChunk.objects.filter(run_id=run_id, n__lt=FULL)
        places = list(small.values_list("series_id", "epoch").distinct())
    gone = 0
    for series_id, epoch in sorted(places):
        until = newest if epoch == fence.epoch else None
        least = MIN_LIVE_CHUNKS if fence.open and until is not None else 2
        gone += series_fold(tenant_id=tenant_id, series_id=series_id, epoch=epoch, until=until, least=least)
    with tenant_tx(tenant_id):
        RunFence.objects.filter(run_id=run_id).update(folded_at=began)
    return gone


def series_fold(*, tenant_id: str, series_id: int, epoch: int, until: int | None, least: int) -> int:
    """Join small neighbours of one series and epoch up to batch `until`; one transaction for each new chunk.

    Fewer than `least` of them stay as they are, unless they make a full chunk.
    """
    gone = 0
    after = -1
    while True:
        with tenant_tx(tenant_id):
            rows = SeriesChunk.objects.filter(series_id=series_id, epoch=epoch, seq_lo__gt=after)
            if until is not None:
                rows = rows.filter(seq_hi__lte=until)
            group = _neighbours(rows.order_by("seq_lo"))
            if group is None:
                return gone
            after = group[-1].seq_hi
            enough = 2 if sum(row.n for row in group) >= FULL else least
            if len(group) >= enough and _replace(group):
                gone += len(group) - 1


def _neighbours(rows: Any) -> list[SeriesChunk] | None:
    """The next small chunks in a row that together make a full one; None at the end."""
    group: list[SeriesChunk] = []
    total = 0
    for row in rows.defer("columns", "blocks").iterator(chunk_size=500):
        if row.n >= FULL:
            if group:
                return group
            continue
        group.append(row)
        total += row.n
        if total >= FULL:
            return group
    return group or None


def _replace(group: list[SeriesChunk]) -> bool:
    """Put one chunk in the place of these; False when somebody else was there first."""
    ids = [row.id for row in group]
    rows = list(SeriesChunk.objects.select_for_update(skip_locked=True).filter(id__in=ids).order_by("seq_lo"))
    if len(rows) != len(ids):
        return False
    points = Points.join([decode_chunk(row.columns, row.blocks) for row in rows])
    chunk = encode_chunk(points)
    back = decode_chunk(chunk.columns, chunk.blocks)
    if not _equal(back, points):
        log.error("fold.unequal", series=rows[0].series_id, epoch=rows[0].epoch, seq=rows[0].seq_lo)
        return False
    finite = points.value[np.isfinite(points.value)]
    first = rows[0]
    SeriesChunk.objects.filter(id__in=ids[1:]).delete()
    SeriesChunk.objects.filter(id=first.id).update(
        seq_hi=rows[-1].seq_hi,
        n=len(points),
        step_lo=int(points.step.min()),
        step_hi=int(points.step.max()),
        low=float(finite.min()) if len(finite) else None,
        high=float(finite.max()) if len(finite) else None,
        codec=chunk.codec,
        columns=chunk.columns,
        blocks=chunk.blocks,
    )
    return True


def _equal(left: Points, right: Points) -> bool:
    """Bit for bit, but for a NaN's payload and for times past the year 2255, whose microseconds no float64 holds."""
    slack = 0.0 if np.abs(right.time).max() < 9e9 else float(np.spacing(np.abs(right.time).max()))
    return bool(
        np.array_equal(left.step, right.step)
        and np.array_equal(left.value, right.value, equal_nan=True)
        and np.array_equal(np.signbit(left.value), np.signbit(right.value))
        and np.all(np.abs(left.time - right.time) <= slack)
    )
