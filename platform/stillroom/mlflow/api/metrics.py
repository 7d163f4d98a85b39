"""metrics/*: whole histories, and intervals of several runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from models_core.events import encode_float
from stillroom.mlflow.api.addresses import routes
from stillroom.mlflow.api.runs import run_id
from stillroom.mlflow.door import Call
from stillroom.mlflow.errors import invalid
from stillroom.mlflow.paging import page_place, page_token
from stillroom.mlflow.services.runs import run_find
from stillroom.runs.models import Run
from stillroom.telemetry.codec import Points
from stillroom.telemetry.selectors.history import history, interval
from stillroom.tenants.policies import Can

MAX_BULK_RUNS, MAX_BULK_POINTS, MAX_HISTORY = 100, 2500, 1_000_000


def _rows(key: str, points: Points, more: dict[str, str]) -> list[dict[str, Any]]:
    stamps = np.rint(points.time * 1000).astype(np.int64).tolist()
    finite = bool(np.isfinite(points.value).all())
    values = points.value.tolist() if finite else [encode_float(value) for value in points.value.tolist()]
    return [
        {"key": key, "value": value, "timestamp": stamp, "step": step, **more}
        for step, value, stamp in zip(points.step.tolist(), values, stamps, strict=True)
    ]


@routes.on("GET", "metrics/get-history", Can.RUN_READ)
def get_history(call: Call) -> Any:
    """All points of a metric by time, step and value. Pages show the points that were there at the first page."""
    message = call.message
    run = run_find(run_id(call)).id
    key = message.required("metric_key")
    limit = message.between("max_results", MAX_HISTORY, 1, MAX_HISTORY) if message.given("max_results") else None
    place = page_place(message.text("page_token"), ["history", run, key])
    start, first = (place[0], place[1]) if place else (0, None)
    points = history(run, key, first=first)
    stop = len(points) if limit is None else start + limit
    rows = _rows(key, points[start:stop], {})
    if stop < len(points):
        return {"metrics": rows, "next_page_token": page_token([stop, len(points)], ["history", run, key])}
    return {"metrics": rows}


@routes.on("GET", "metrics/get-history-bulk-interval", Can.RUN_READ)
def get_history_bulk_interval(call: Call) -> Any:
    """Up to `max_results` points of each run within the steps asked for; extremes are kept."""
    message = call.message
    wanted = message.texts("run_ids")
    if not wanted:
        raise invalid("Missing value for required parameter 'run_ids'.")
    if len(wanted) > MAX_BULK_RUNS:
        raise invalid(
            f"GetMetricHistoryBulkInterval request must specify at most {MAX_BULK_RUNS} run_ids. "
            f"Received {len(wanted)} run_ids."
        )
    key = message.required("metric_key")
    low, high = message.whole("start_step"), message.whole("end_step")
    most = message.whole("max_results", MAX_BULK_POINTS)
    if most is None or not 1 <= most <= MAX_BULK_POINTS:
        raise invalid(f"max_results must be between 1 and {MAX_BULK_POINTS}.")
    if (low is None) != (high is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if low is not None and high is not None and low > high:
        raise invalid(f"end_step must be greater than start_step. Found start_step={low} and end_step={high}.")
    known = set(Run.objects.filter(id__in=wanted).values_list("id", flat=True))
    rows = [
        row
        for run in dict.fromkeys(wanted)
        if run in known
        for row in _rows(key, interval(run, key, low=low, high=high, most=most), {"run_id": run})
    ]
    return {"metrics": rows}
