"""Logged models: made, finished, tagged, given parameters and metrics, deleted."""

from __future__ import annotations

from typing import Any

from stillroom.mlflow.errors import invalid, missing
from stillroom.mlflow.limits import check_length, check_name
from stillroom.mlflow.messages import double, whole
from stillroom.mlflow.models import Experiment, LoggedModel
from stillroom.mlflow.services.clock import now_ms
from stillroom.mlflow.services.experiments import active
from stillroom.mlflow.services.names import random_name
from stillroom.mlflow.services.runs import run_find

STATUSES = (
    "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "LOGGED_MODEL_PENDING",
    "LOGGED_MODEL_READY",
    "LOGGED_MODEL_UPLOAD_FAILED",
)
FORBIDDEN = frozenset("/:.%\"'")


def model_find(model_id: str, *, deleted: bool = False, lock: bool = False) -> LoggedModel:
    """A logged model of the open tenant; RESOURCE_DOES_NOT_EXIST otherwise."""
    rows = LoggedModel.objects.select_for_update(of=("self",)) if lock else LoggedModel.objects
    found = rows.select_related("experiment").filter(id=model_id[:35]).first()
    if found is None or (found.deleted_ms is not None and not deleted):
        raise missing(f"Logged model with ID '{model_id[:100]}' not found.")
    return found


def model_create(
    *, experiment: Experiment, name: str, model_type: str, run_id: str, params: list[tuple[str, str]],
    tags: list[tuple[str, str]],
) -> LoggedModel:  # fmt: skip
    """A model that a client is about to upload: PENDING until it says otherwise."""
    active(experiment)
    if FORBIDDEN & set(name):
        raise invalid(f"Invalid model name ({name[:100]!r}) provided. Model name must be a non-empty string and cannot "
                      "contain the following characters: '/', ':', '.', '%', '\"', \"'\"")  # fmt: skip
    if run_id:
        run_find(run_id)
    now = now_ms()
    return LoggedModel.objects.create(
        tenant_id=experiment.tenant_id, experiment=experiment, name=check_length("name", name or random_name(), 500),
        model_type=check_length("model_type", model_type, 500), source_run_id=run_id, params=_params(params, {}),
        tags=_tags(tags), created_ms=now, updated_ms=now,
    )  # fmt: skip


def _params(pairs: list[tuple[str, str]], known: dict[str, str]) -> dict[str, str]:
    found = dict(known)
    for key, value in pairs:
        check_name(key, "params.key")
        check_length("Param value", value, 6000)
        if found.get(key, value) != value:
            raise invalid(f"Changing param values is not allowed. Param with key='{key}' was already logged.")
        found[key] = value
    return found


def _tags(pairs: list[tuple[str, str]]) -> dict[str, str]:
    for key, value in pairs:
        check_name(key, "tags.key")
        check_length("tags.value", value, 8000)
    return dict(pairs)


def model_finish(*, model_id: str, status: object) -> None:
    """READY or UPLOAD_FAILED."""
    if isinstance(status, int) and not isinstance(status, bool) and 0 < status < len(STATUSES):
        status = STATUSES[status]
    if status not in STATUSES[1:]:
        raise invalid(f"Invalid model status: {str(status)[:100]}. Expected one of {', '.join(STATUSES[1:])}.")
    row = model_find(model_id)
    LoggedModel.objects.filter(id=row.id).update(status=status, updated_ms=now_ms())


def model_tag(*, model_id: str, tags: list[tuple[str, str]]) -> None:
    """Set tags."""
    added = _tags(tags)
    row = model_find(model_id, lock=True)
    LoggedModel.objects.filter(id=row.id).update(tags={**row.tags, **added}, updated_ms=now_ms())


def model_untag(*, model_id: str, key: str) -> None:
    """Remove a tag; RESOURCE_DOES_NOT_EXIST when there is none."""
    row = model_find(model_id, lock=True)
    if key not in row.tags:
        raise missing(f"No tag with key {key[:250]!r} found for model with ID {model_id!r}.")
    tags = {name: value for name, value in row.tags.items() if name != key}
    LoggedModel.objects.filter(id=row.id).update(tags=tags, updated_ms=now_ms())


def model_params(*, model_id: str, params: list[tuple[str, str]]) -> None:
    """Add parameters; one never changes."""
    row = model_find(model_id, lock=True)
    LoggedModel.objects.filter(id=row.id).update(params=_params(params, row.params), updated_ms=now_ms())


def model_delete(*, model_id: str) -> None:
    """Soft."""
    row = model_find(model_id)
    LoggedModel.objects.filter(id=row.id).update(deleted_ms=now_ms())


def metrics_link(run_id: str, metrics: list[Any]) -> None:
    """Metrics that name a model are shown with it: for each key and data set the latest. No query without one."""
    linked: dict[str, list[dict[str, Any]]] = {}
    for metric in metrics:
        if metric.get("model_id"):
            linked.setdefault(str(metric["model_id"]), []).append(metric)
    for model_id in sorted(linked):
        row = LoggedModel.objects.select_for_update().filter(id=model_id[:35]).first()
        if row is None:
            raise missing(f"Logged model with ID '{model_id[:100]}' not found.")
        known = {(one["key"], one.get("dataset_name"), one.get("dataset_digest")): one for one in row.metrics}
        for metric in linked[model_id]:
            entry = _linked(run_id, model_id, metric)
            place = (entry["key"], entry.get("dataset_name"), entry.get("dataset_digest"))
            if place not in known or (known[place]["step"], known[place]["timestamp"]) <= (
                entry["step"],
                entry["timestamp"],
            ):
                known[place] = entry
        LoggedModel.objects.filter(id=row.id).update(metrics=list(known.values()), updated_ms=now_ms())


def _linked(run_id: str, model_id: str, metric: dict[str, Any]) -> dict[str, Any]:
    value = double("value", metric["value"])
    entry = {
        "key": metric["key"],
        "value": value
        if abs(value) <= 1.7976931348623157e308
        else ("NaN" if value != value else f"{'-' * (value < 0)}Infinity"),
        "timestamp": whole("timestamp", metric["timestamp"]),
        "step": whole("step", metric.get("step") or 0),
        "model_id": model_id,
        "run_id": run_id,
    }
    for name in ("dataset_name", "dataset_digest"):
        if metric.get(name):
            entry[name] = check_length(name, str(metric[name]), 500)
    return entry
