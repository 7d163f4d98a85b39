"""Points that count: in order of arrival, without those that a later attempt has done again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from stillroom.runs.models import Attempt
from stillroom.telemetry.blocks import decode_chunk, frames_of, read_table
from stillroom.telemetry.codec import Points, decode_many
from stillroom.telemetry.models import SeriesChunk

NOTHING_KEPT = -(2**63)
# What a node measures of itself: its steps are seconds of the attempt, and no later attempt does them again.
NEVER_REPEATED = "system/"


def horizons(run_id: str) -> dict[int, int]:
    """For each epoch the last step of it that still counts; epochs without a limit are left out. One query."""
    limits: dict[int, int] = {}
    lowest: int | None = None
    rows = Attempt.objects.filter(run_id=run_id, claimed_at__isnull=False).order_by("-epoch")
    for epoch, resume_step in rows.values_list("epoch", "resume_step"):
        if lowest is not None:
            limits[epoch] = lowest
        step = NOTHING_KEPT if resume_step is None else resume_step
        lowest = step if lowest is None else min(lowest, step)
    return limits


def limit_of(limits: dict[int, int], epoch: int, key: str) -> int | None:
    """The last step of that epoch of that series which counts; None without a limit."""
    return None if key.startswith(NEVER_REPEATED) else limits.get(epoch)


def visible_parts(run_id: str, keys: Iterable[str] | None = None) -> Iterator[tuple[str, Points]]:
    """Visible points in pieces, key after key, each in order of arrival; memory for some chunks only. Two queries."""
    limits = horizons(run_id)
    rows = SeriesChunk.objects.filter(run_id=run_id).order_by("series__key", "epoch", "seq_lo")
    if keys is not None:
        rows = rows.filter(series__key__in=list(keys))
    fields = rows.values_list("series__key", "epoch", "columns", "blocks")
    for key, epoch, columns, blocks in fields.iterator(chunk_size=50):
        points = decode_chunk(columns, blocks)
        limit = limit_of(limits, epoch, key)
        if limit is not None:
            points = points[points.step <= limit]
        if len(points):
            yield key, points


def visible_points(run_id: str, keys: Iterable[str] | None = None) -> dict[str, Points]:
    """All visible points by key, in order of arrival. Two queries."""
    limits = horizons(run_id)
    rows = SeriesChunk.objects.filter(run_id=run_id).order_by("epoch", "seq_lo")
    if keys is not None:
        rows = rows.filter(series__key__in=list(keys))
    parts: dict[str, list[Points]] = defaultdict(list)
    chunks = [
        (key, epoch, [columns] if blocks is None else frames_of(columns, read_table(blocks)))
        for key, epoch, columns, blocks in rows.values_list("series__key", "epoch", "columns", "blocks")
    ]
    decoded = iter(decode_many([frame for _, _, frames in chunks for frame in frames]))
    for key, epoch, frames in chunks:
        points = Points.join([next(decoded) for _ in frames])
        limit = limit_of(limits, epoch, key)
        if limit is not None:
            keep = points.step <= limit
            if not np.all(keep):
                points = points[keep]
        if len(points):
            parts[key].append(points)
    return {key: Points.join(found) for key, found in parts.items()}
