"""Doors to series, charts and logs."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import orjson
from django.http import HttpResponse

from models_core.events import encode_float
from stillroom.core.errors import Invalid, NotFound
from stillroom.core.frames import MEDIA_TYPE, encode_frame
from stillroom.core.tenancy import tenant_tx
from stillroom.runs.models import Run
from stillroom.runs.schemas.runs import SummaryOut
from stillroom.runs.selectors import run_access, summaries
from stillroom.telemetry.schemas import ChartIn, ChartOut, LogList, SeriesList
from stillroom.telemetry.selectors.charts import Chart, ChartQuery, ChartSeries, chart
from stillroom.telemetry.selectors.logs import log_page
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["telemetry"])
MAX_LOG_LIMIT = 5000


@door.get("/runs/{run}/series", needs=Can.RUN_READ, response=SeriesList)
def series_list(request: DoorRequest, run: str) -> object:
    """The run's metric keys with their summaries."""
    with run_access(request.door, run) as (_, found):
        rows = summaries([found.id])[found.id]
        return {"items": [{"key": key, **SummaryOut.of(rows[key])} for key in sorted(rows)]}


@door.post("/series/query", needs=Can.RUN_READ, response=ChartOut)
def series_query(request: DoorRequest, payload: ChartIn, org: str | None = None) -> Any:
    """Lines for a chart: exact when they fit `max_points`, otherwise buckets that keep every extreme."""
    query = ChartQuery(
        runs=list(dict.fromkeys(payload.runs)),
        keys=list(dict.fromkeys(payload.keys)),
        x=payload.x,
        range=payload.range,
        max_points=payload.max_points,
        group=payload.group or "",
        band=payload.band,
    )
    if query.range is not None and not query.range[0] <= query.range[1]:
        raise Invalid("The range is empty.", fields={"range": "The first value must not be above the second."})
    found = _answer(request, query, org)
    if MEDIA_TYPE in request.headers.get("Accept", ""):
        return HttpResponse(_binary(found), content_type=MEDIA_TYPE)
    return HttpResponse(_json(found), content_type="application/json")


def _answer(request: DoorRequest, query: ChartQuery, org: str | None) -> Chart:
    """All runs must be visible in one organisation of the caller; otherwise NotFound, as for a single run."""
    members = request.door.candidates()
    for member in members:
        if org is not None and member.org != org:
            continue
        with tenant_tx(member.tenant_id):
            rows = {run.id: run for run in Run.objects.filter(id__in=query.runs)}
            if len(rows) == len(query.runs):
                member.require(request.door.needs)
                return chart(query, [rows[run_id] for run_id in query.runs])
    raise NotFound("One of these runs")


def _plain(line: ChartSeries) -> dict[str, Any]:
    return {
        "run": line.run,
        "key": line.key,
        "n": line.n,
        "exact": line.exact,
        "per_bucket": line.per_bucket,
        "non_finite": line.non_finite,
        "non_finite_n": line.non_finite_n,
    }


def _json(found: Chart) -> bytes:
    def values(column: Any) -> list[Any]:
        return column.tolist() if np.all(np.isfinite(column)) else [encode_float(value) for value in column.tolist()]

    return orjson.dumps(
        {
            "series": [{**_plain(line), "x": line.x.tolist(), "value": values(line.value)} for line in found.series],
            "groups": [
                {
                    "spec_hash": group.spec_hash,
                    "label": group.label,
                    "key": group.key,
                    "x": group.x.tolist(),
                    "mean": group.mean.tolist(),
                    "lo": group.low.tolist(),
                    "hi": group.high.tolist(),
                    "n": group.n.astype(int).tolist(),
                }
                for group in found.groups
            ],
        }
    )


def _binary(found: Chart) -> bytes:
    """Header as in JSON with lengths instead of columns; then x, value of each line and x, mean, lo, hi, n of each
    group.
    """
    header = {
        "type": "chart",
        "series": [{**_plain(line), "points": len(line.x)} for line in found.series],
        "groups": [
            {"spec_hash": group.spec_hash, "label": group.label, "key": group.key, "points": len(group.x)}
            for group in found.groups
        ],
    }
    columns = [column for line in found.series for column in (line.x, line.value)]
    columns += [column for group in found.groups for column in (group.x, group.mean, group.low, group.high, group.n)]
    return encode_frame(header, columns)


@door.get("/runs/{run}/logs", needs=Can.RUN_READ, response=LogList)
def logs(
    request: DoorRequest,
    run: str,
    cursor: int | None = None,
    limit: int = 500,
    direction: Literal["forward", "backward"] = "forward",
    q: str = "",
) -> object:
    """Log lines in order. Forward: after the cursor, from the start without one. Backward: before it, from the end
    without one.
    """
    limit = max(1, min(limit, MAX_LOG_LIMIT))
    with run_access(request.door, run) as (_, found):
        if direction == "forward":
            page = log_page(found.id, after=-1 if cursor is None else cursor, before=None, limit=limit, q=q)
        else:
            page = log_page(found.id, after=None, before=cursor, limit=limit, q=q)
        return {"items": page.lines, "next_cursor": None if page.next_cursor is None else str(page.next_cursor)}
