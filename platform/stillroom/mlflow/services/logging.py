"""The hot path: metrics, parameters and tags of one batch, all or nothing, points as arrays."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from stillroom.core import pubsub
from stillroom.mlflow.errors import MlflowError, invalid, missing
from stillroom.mlflow.limits import (
    MAX_ENTITIES,
    MAX_METRICS,
    MAX_PARAM,
    MAX_PARAMS,
    MAX_TAGS,
    check_count,
    check_name,
)
from stillroom.mlflow.messages import Message, double, storable, whole, wrong
from stillroom.mlflow.services.runs import checked_tag, external, run_find, tags_write, writable
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Run
from stillroom.runs.selectors import leaves
from stillroom.runs.services.control import external_run_alive
from stillroom.runs.services.external import external_run_revive
from stillroom.runs.services.transition import open_alias
from stillroom.telemetry.codec import Points
from stillroom.telemetry.services.append import append
from stillroom.telemetry.services.ingest import Stored
from stillroom.tenants.callers import Member

MAX_MS = 10**14  # the year 5138; points keep seconds as float64
INT64 = 2**63
_GATE = """
select r.external, r.state, l.lease_until, t.deleted_ms
  from run r left join run_lease l on l.run_id = r.id left join mlflow_run t on t.run_id = r.id
 where r.id = %s
"""


def batch_log(*, member: Member, run_id: str, message: Message) -> None:
    """One log-batch. INVALID_PARAMETER_VALUE keeps nothing of it."""
    metrics, params, tags = message.items("metrics"), message.objects("params"), message.objects("tags")
    check_count("metrics", len(metrics), MAX_METRICS)
    check_count("params", len(params), MAX_PARAMS)
    check_count("tags", len(tags), MAX_TAGS)
    check_count("metrics, params, and tags", len(metrics) + len(params) + len(tags), MAX_ENTITIES)
    series = columns(metrics)
    new = params_checked([(item.text("key"), item.text("value")) for item in params])
    labels = [(item.text("key"), item.text("value")) for item in tags]
    labels = [checked_tag(key, value, f"tags[{index}].") for index, (key, value) in enumerate(labels)]
    alive(member, run_id)
    if new or labels:
        run, row = writable(run_id)
        if new:
            params_write(run, new)
        if labels:
            tags_write(run, row, dict(labels))
    points_log(run_id, series)


def alive(member: Member, run_id: str) -> None:
    """Refuse a run that takes no points; renew its lease when it is a tenth used; take up one that was thought lost.

    One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(_GATE, [run_id[:17]])
        row = cursor.fetchone()
    if row is None:
        raise missing(f"Run with id={run_id[:300]} not found")
    is_external, state, lease_until, deleted_ms = row
    if deleted_ms is not None:
        raise invalid(f"The run {run_id} must be in the 'active' state. Current state is deleted.")
    if not is_external:
        external(run_find(run_id))
    lease_s = settings.ENV.mlflow_lease_s
    if state == State.LOST:
        external_run_revive(run=run_find(run_id), actor=member.email, lease_s=lease_s)
    elif state == State.RUNNING and (
        lease_until is None or lease_until < timezone.now() + timedelta(seconds=0.9 * lease_s)
    ):
        external_run_alive(run_id=run_id, lease_s=lease_s)


def points_log(run_id: str, series: dict[str, Points]) -> Stored | None:
    """Store points and, after commit, hand them to viewers."""
    if not series:
        return None
    stored = append(run_id=run_id, series=series)
    if stored is not None and stored.frame is not None:
        frame, project = stored.frame, stored.project_id

        def send() -> None:
            pubsub.publish_frame(run_id, frame)
            pubsub.announce_progress(run_id, project)

        transaction.on_commit(send, using=open_alias())
    return stored


def columns(metrics: list[Any]) -> dict[str, Points]:
    """Metrics as arrays by key. Everything is checked; an error names the metric's place in the batch."""
    plain = _plain_columns(metrics)
    return _checked_columns(metrics) if plain is None else plain


def _plain_columns(metrics: list[Any]) -> dict[str, Points] | None:
    """Whole columns at once when every field has its very type, as clients send them; None otherwise."""
    try:
        keys = [metric["key"] for metric in metrics]
        columns = [[metric[name] for metric in metrics] for name in ("step", "value", "timestamp")]
    except (KeyError, TypeError):
        return None
    kinds = [set(map(type, column)) for column in (keys, *columns)]
    if kinds != [{str}, {int}, {float}, {int}]:
        return None
    try:
        step, value = np.array(columns[0], np.int64), np.array(columns[1], np.float64)
        ms = np.array(columns[2], np.int64)
    except OverflowError:
        return None
    if int(ms.min()) < 0 or int(ms.max()) > MAX_MS:
        return None
    places: dict[str, int] = {}
    owner = np.array([places.setdefault(key, len(places)) for key in keys], np.int64)
    try:
        for key in places:
            check_name(storable("key", key))
    except MlflowError:
        return None
    points = Points(step, value, ms / 1000)
    if len(places) == 1:
        return dict.fromkeys(places, points)
    points = points[np.argsort(owner, kind="stable")]
    ends = np.cumsum(np.bincount(owner)).tolist()
    return {key: points[start:stop] for key, start, stop in zip(places, [0, *ends], ends, strict=False)}


def _checked_columns(metrics: list[Any]) -> dict[str, Points]:
    """One by one: for text such as "NaN", for numbers of another kind, and to say what is wrong."""
    found: dict[str, tuple[list[int], list[float], list[int]]] = {}
    for index, metric in enumerate(metrics):
        if type(metric) is not dict:
            raise wrong("metrics", metrics[:3])
        key, value = metric.get("key"), metric.get("value")
        ms, step = metric.get("timestamp"), metric.get("step", 0)
        column = found.get(key) if type(key) is str else None
        if column is None:
            if type(key) is not str:
                raise invalid(f"Missing value for required parameter 'metrics[{index}].key'. It must be a name.")
            column = found[check_name(storable("key", key), f"metrics[{index}].key")] = ([], [], [])
        if type(value) is not float:
            if value is None:
                raise invalid(f"Missing value for required parameter 'metrics[{index}].value' of metric '{key}'.")
            value = double(f"metrics[{index}].value", value)
        if type(ms) is not int:
            ms = whole(f"metrics[{index}].timestamp", ms)
        if type(step) is not int:
            step = 0 if step is None else whole(f"metrics[{index}].step", step)
        if not 0 <= ms <= MAX_MS:
            raise invalid(
                f"Invalid value {ms} for parameter 'metrics[{index}].timestamp' supplied: metric '{key}' "
                f"(value={value}). Timestamp must be a nonnegative long of milliseconds up to {MAX_MS}."
            )
        if not -INT64 <= step < INT64:
            raise invalid(
                f"Invalid value {step} for parameter 'metrics[{index}].step' supplied: metric '{key}' "
                f"(value={value}). Step must be a valid long (64-bit integer)."
            )
        column[0].append(step)
        column[1].append(value)
        column[2].append(ms)
    return {
        key: Points(np.array(steps, np.int64), np.array(values, np.float64), np.array(times, np.int64) / 1000)
        for key, (steps, values, times) in found.items()
    }


def params_checked(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Parameters of one batch; a key may come once. A longer value is cut, as MLflow does."""
    new: dict[str, str] = {}
    for index, (key, value) in enumerate(pairs):
        check_name(key, f"params[{index}].key" if len(pairs) > 1 else "key")
        value = value[:MAX_PARAM]
        if key in new:
            raise invalid(
                f"Duplicate parameter keys have been submitted: {[key]}. Please ensure the request contains only one "
                "param value per param key."
            )
        new[key] = value
    return new


def params_write(run: Run, new: dict[str, str]) -> None:
    """Checked parameters into a locked run. A parameter never changes; the same value again is no change."""
    external(run)
    known = leaves(run.spec)
    for key, value in new.items():
        if key in known and known[key] != value:
            raise invalid(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                f"value='{known[key][:300]}' for run ID='{run.id}'. Attempted logging new value '{value[:300]}'."
            )
    added = {key: value for key, value in new.items() if key not in known}
    if added:
        Run.objects.filter(id=run.id).update(spec={**run.spec, **added})


def params_log(*, member: Member, run_id: str, params: list[tuple[str, str]]) -> None:
    """Parameters alone."""
    new = params_checked(params)
    alive(member, run_id)
    run, _ = writable(run_id)
    params_write(run, new)


def metric_of(message: Message) -> dict[str, Any]:
    """The one metric of a log-metric request, as an entry of a batch."""
    for name in ("value", "timestamp"):
        if not message.given(name):
            raise invalid(f"Missing value for required parameter '{name}'.")
    value = double("value", message.raw("value"))
    if isinstance(message.raw("value"), str) and math.isnan(value) and message.text("value").lower() not in (
        "nan", "+nan", "-nan",
    ):  # fmt: skip
        raise wrong("value", message.raw("value"))
    return {
        "key": message.required("key"),
        "value": value,
        "timestamp": message.whole("timestamp"),
        "step": message.whole("step", 0),
    }
