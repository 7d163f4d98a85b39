"""Runs as MLflow shows them: a page in four queries, whatever the number of metrics."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.db.models import FloatField, IntegerField, TextField
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from models_core.events import encode_float
from stillroom.mlflow.messages import key_values, without_nothing
from stillroom.mlflow.models import Experiment, TrackedRun
from stillroom.mlflow.paging import page_place, page_token
from stillroom.mlflow.selectors.experiments import location
from stillroom.mlflow.selectors.fields import START, resolve
from stillroom.mlflow.services.clock import millis
from stillroom.mlflow.services.runs import NAME, NOTE, visible
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Run, Series
from stillroom.runs.query.parse import parse_order
from stillroom.runs.query.search import satisfying
from stillroom.runs.selectors import leaves

STATUS = {
    State.RUNNING: "RUNNING",
    State.STOPPING: "RUNNING",
    State.SUCCEEDED: "FINISHED",
    State.FAILED: "FAILED",
    State.LOST: "FAILED",
    State.CANCELLED: "KILLED",
}
FIELDS = (
    "id", "project_id", "name", "notes", "tags", "spec", "state", "started_at", "created_at", "ended_at",
    "created_by__email",
)  # fmt: skip


def run_views(ids: list[str], *, data: bool = True) -> list[dict[str, Any]]:
    """Runs in the order of `ids`."""
    rows = {row["id"]: row for row in Run.objects.filter(id__in=ids).values(*FIELDS)}
    extra = {row.run_id: row for row in TrackedRun.objects.filter(run_id__in=ids)}
    projects = {row["project_id"] for row in rows.values()}
    homes = {row.project_id: row for row in Experiment.objects.filter(project_id__in=projects)}
    metrics = _latest(ids, rows) if data else {}
    return [
        _view(rows[run_id], extra.get(run_id), homes.get(rows[run_id]["project_id"]), metrics.get(run_id, []), data)
        for run_id in ids
        if run_id in rows
    ]


def _latest(ids: list[str], rows: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    series = Series.objects.filter(run_id__in=ids, n__gt=0).order_by("key")
    for run_id, key, last, step, time in series.values_list("run_id", "key", "last", "last_step", "last_time"):
        row = rows.get(run_id)
        if row is None or last is None:
            continue
        if time is None:  # points of a node: their times lie in the chunks; the run's end is near enough for a list
            time = (row["ended_at"] or row["started_at"] or row["created_at"]).timestamp()
        found[run_id].append({"key": key, "value": encode_float(last), "timestamp": round(time * 1000), "step": step})
    return found


def _view(
    row: dict[str, Any], extra: TrackedRun | None, home: Experiment | None, metrics: list[dict[str, Any]], data: bool
) -> dict[str, Any]:
    name = (extra.name if extra else "") or row["name"]
    root = location(home) if home else ""
    ended = millis(row["ended_at"])
    status = STATUS.get(State(row["state"]), "SCHEDULED")
    info = {
        "run_id": row["id"],
        "run_uuid": row["id"],
        "run_name": name,
        "experiment_id": str(home.number) if home else "",
        "user_id": (extra.user if extra else "") or row["created_by__email"] or "",
        "status": "SCHEDULED" if extra is not None and extra.scheduled and status == "RUNNING" else status,
        "start_time": millis(row["started_at"] or row["created_at"]),
        **({} if ended is None else {"end_time": ended}),
        "artifact_uri": f"{root.rstrip('/')}/{row['id']}/artifacts",
        "lifecycle_stage": "active" if extra is None or extra.deleted_ms is None else "deleted",
    }
    if not data:
        return {"info": info}
    tags = {**row["tags"], NAME: name, **({NOTE: row["notes"]} if row["notes"] else {})}
    params = key_values(leaves(row["spec"]) if row["spec"] else {})
    body = without_nothing((("metrics", metrics), ("params", params), ("tags", key_values(tags))))
    view: dict[str, Any] = {"info": info, "data": body, "inputs": {}, "outputs": {}}
    if extra is not None:
        models = [{"model_id": model} for model in extra.model_inputs]
        view["inputs"] = without_nothing((("dataset_inputs", extra.inputs), ("model_inputs", models)))
        view["outputs"] = without_nothing((("model_outputs", extra.model_outputs),))
    return view


def runs_found(
    *, projects: list[str], query: str, view: str, order: list[str], limit: int, token: str
) -> tuple[list[str], str]:
    """Ids of a page of runs and the token of the next. One query.

    Later pages leave out runs made after the first, so that no run is seen twice or passed over.
    """
    asked = ["runs", projects, query, view, order]
    place = page_place(token, asked)
    start, until = (place[0], parse_datetime(place[1])) if place else (0, timezone.now())
    found = Run.objects.filter(visible(view), project_id__in=projects, created_at__lte=until)
    if query.strip():
        found = satisfying(found, query, fields=resolve)
    keys = [key for text in order for key in order_keys(text)]
    found = found.order_by(*keys, RawSQL(START, (), FloatField()).desc(nulls_last=True), "id")
    ids = list(found.values_list("id", flat=True)[start : start + limit + 1])
    following = page_token([start + limit, until.isoformat()], asked) if len(ids) > limit and until else ""
    return ids[:limit], following


def order_keys(text: str) -> list[Any]:
    """`metrics.loss DESC` as sort keys: values by size, then NaN, then what is missing, in both directions."""
    order = parse_order(text)
    source = resolve(order.name, text)
    sql, params = source.sql, list(source.params)
    if source.rows:
        sql = f"(select min(found.value) from {sql} as found(value))"
    if source.kind == "metric":
        sql = f"(select {sql} from series s where s.run_id = run.id and s.key = %s)"
        absent = RawSQL(
            f"case when {sql} = 'NaN' then 1 when {sql} is null then 2 else 0 end", params * 2, IntegerField()
        )
        value = RawSQL(f"nullif({sql}, 'NaN')", params, FloatField())
        return [absent.asc(), value.desc(nulls_last=True) if order.descending else value.asc(nulls_last=True)]
    if source.kind == "number":
        value = RawSQL(sql, params, FloatField())
    else:
        value = RawSQL(f'({sql}) collate "C"', params, TextField())
    return [value.desc(nulls_last=True) if order.descending else value.asc(nulls_last=True)]
