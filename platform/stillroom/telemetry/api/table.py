"""Doors to the run table: columns of metrics over pages of runs, and the keys that there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from django.http import HttpResponse

from models_core.events import encode_float
from stillroom.core.frames import MEDIA_TYPE, encode_frame
from stillroom.core.pagination import MAX_LIMIT, decode_cursor, encode_cursor
from stillroom.runs.models import Run
from stillroom.runs.selectors import RunFilter, project_get
from stillroom.telemetry.schemas import KeyList, TableIn, TableOut
from stillroom.telemetry.selectors.table import ColumnQuery, Table, TableColumn, metric_keys, table
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["telemetry"])


@door.post("/orgs/{org}/projects/{project}/table", needs=Can.RUN_READ, response=TableOut)
def run_table(request: DoorRequest, org: str, project: str, payload: TableIn) -> Any:
    """A page of runs with the metric columns asked for; binary columns with the Accept header of charts."""
    columns = [ColumnQuery(column.key, column.what, column.step) for column in payload.columns]
    with request.door.org(org):
        wanted = RunFilter(
            q=payload.q,
            states=tuple(payload.state),
            recipe=payload.recipe,
            study=payload.study,
            spec_hash=payload.spec_hash,
            project=project_get(project),
            sort=payload.sort,
        )
        found = table(wanted, columns, cursor=payload.cursor, limit=payload.limit)
    header: dict[str, Any] = {
        "runs": [_run(run) for run in found.runs],
        "next_cursor": found.next_cursor,
        "total": found.total,
        "columns": [_plain(column) for column in found.columns],
    }
    if MEDIA_TYPE in request.headers.get("Accept", ""):
        return HttpResponse(_binary(header, found), content_type=MEDIA_TYPE)
    for column, plain in zip(found.columns, header["columns"], strict=True):
        cells = zip(column.value.tolist(), column.has.tolist(), strict=True)
        plain["value"] = [encode_float(value) if has else None for value, has in cells]
        steps = zip(column.step.tolist(), column.has.tolist(), strict=True)
        plain["at"] = [int(step) if has else None for step, has in steps]
    return HttpResponse(orjson.dumps(header, option=orjson.OPT_UTC_Z), content_type="application/json")


def _run(run: Run) -> dict[str, Any]:
    names = (
        "id",
        "name",
        "state",
        "recipe",
        "arm",
        "seed",
        "spec_hash",
        "tags",
        "created_at",
        "started_at",
        "ended_at",
    )
    return {**{name: getattr(run, name) for name in names}, "study": run.study_id}


def _plain(column: TableColumn) -> dict[str, Any]:
    return {"key": column.query.key, "what": column.query.what, "step": column.query.step}


def _binary(header: dict[str, Any], found: Table) -> bytes:
    """Three columns for each: value, step, and 1 where the run has one."""
    dates = dict.fromkeys(("created_at", "started_at", "ended_at"))
    runs = [{**run, **{name: run[name] and run[name].isoformat() for name in dates}} for run in header["runs"]]
    parts = [part for column in found.columns for part in (column.value, column.step, column.has.astype(np.float64))]
    return encode_frame({"type": "table", **header, "runs": runs}, parts)


@door.get("/orgs/{org}/projects/{project}/metric-keys", needs=Can.RUN_READ, response=KeyList)
def key_list(
    request: DoorRequest, org: str, project: str, q: str = "", cursor: str | None = None, limit: int = 200
) -> object:
    """The metric keys of the project's runs that contain `q`, in order."""
    limit = max(1, min(limit, MAX_LIMIT))
    after = str(decode_cursor(cursor, length=1)[0]) if cursor else ""
    with request.door.org(org):
        keys = metric_keys(project_get(project), q=q, after=after, limit=limit + 1)
    more = len(keys) > limit
    return {"items": keys[:limit], "next_cursor": encode_cursor([keys[limit - 1]]) if more else None}
