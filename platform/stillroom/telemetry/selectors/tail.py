"""The newest points of one series, without reading the older ones."""

from __future__ import annotations

import numpy as np

from stillroom.telemetry.codec import Points, decode
from stillroom.telemetry.models import SeriesChunk
from stillroom.telemetry.selectors.visible import NEVER_REPEATED, horizons


def newest_points(run_id: str, key: str, n: int) -> Points:
    """At most the last `n` visible points in order of arrival. Two queries; decodes only the chunks that it needs."""
    limits = horizons(run_id)
    found: list[Points] = []
    count = 0
    rows = SeriesChunk.objects.filter(run_id=run_id, series__key=key).order_by("-epoch", "-seq_lo")
    for epoch, columns in rows.values_list("epoch", "columns").iterator(chunk_size=16):
        points = decode(columns)
        if epoch in limits and not key.startswith(NEVER_REPEATED):
            points = points[points.step <= limits[epoch]]
        found.append(points)
        count += len(points)
        if count >= n:
            break
    joined = Points.join(found[::-1]) if found else Points.empty()
    return joined[np.arange(max(0, len(joined) - n), len(joined))]
