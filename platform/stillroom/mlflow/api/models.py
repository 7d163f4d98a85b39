"""logged-models/*."""

from __future__ import annotations

from typing import Any

from stillroom.mlflow.api.addresses import routes
from stillroom.mlflow.door import Call
from stillroom.mlflow.errors import invalid
from stillroom.mlflow.messages import key_values, without_nothing
from stillroom.mlflow.models import Experiment, LoggedModel
from stillroom.mlflow.paging import page_of
from stillroom.mlflow.selectors.experiments import location
from stillroom.mlflow.selectors.matching import Getter, matching, ordered
from stillroom.mlflow.services import files, models
from stillroom.mlflow.services.experiments import experiment_find, experiments_asked
from stillroom.tenants.policies import Can

MOST_SEARCHED = 20_000


def artifact_uri(row: LoggedModel) -> str:
    """Where the model's files lie."""
    return f"{location(row.experiment).rstrip('/')}/models/{row.id}/artifacts"


def model_view(row: LoggedModel) -> dict[str, Any]:
    """The object on the wire."""
    info = {
        "model_id": row.id,
        "experiment_id": str(row.experiment.number),
        "name": row.name,
        "creation_timestamp_ms": row.created_ms,
        "last_updated_timestamp_ms": row.updated_ms,
        "artifact_uri": artifact_uri(row),
        "status": row.status,
        **without_nothing(
            (("model_type", row.model_type), ("source_run_id", row.source_run_id), ("tags", key_values(row.tags)))
        ),
    }
    return {"info": info, "data": without_nothing((("params", key_values(row.params)), ("metrics", row.metrics)))}


def _shown(model_id: str) -> dict[str, Any]:
    return {"model": model_view(models.model_find(model_id))}


@routes.on("POST", "logged-models", Can.RUN_WRITE)
def create(call: Call) -> Any:
    message = call.message
    made = models.model_create(
        experiment=experiment_find(call.member, message.required("experiment_id")),
        name=message.text("name"),
        model_type=message.text("model_type"),
        run_id=message.text("source_run_id"),
        params=message.pairs("params"),
        tags=message.pairs("tags"),
    )
    return {"model": model_view(made)}


@routes.on("POST", "logged-models/search", Can.RUN_READ)
def search(call: Call) -> Any:
    """Models of the experiments; metrics of a filter may be narrowed to data sets."""
    message = call.message
    ids = message.texts("experiment_ids")
    if not ids:
        raise invalid("Missing value for required parameter 'experiment_ids'.")
    numbers, _ = experiments_asked(ids)
    homes = Experiment.objects.filter(number__in=numbers, deleted_ms__isnull=True)
    rows = LoggedModel.objects.select_related("experiment").filter(experiment__in=homes, deleted_ms__isnull=True)
    datasets = [(one.text("dataset_name"), one.text("dataset_digest")) for one in message.objects("datasets")]
    orders = []
    for one in message.objects("order_by"):
        narrowed = [(one.text("dataset_name"), one.text("dataset_digest"))] if one.text("dataset_name") else datasets
        down = one.raw("ascending") is False
        orders.append((f"{one.required('field_name')}{' DESC' if down else ''}", narrowed))
    limit = message.between("max_results", 50, 1, 50_000)
    found = matching(rows.order_by("-created_ms", "id")[:MOST_SEARCHED], message.text("filter"), _fields(datasets))
    if datasets:
        found = [row for row in found if any(_fits(one, *dataset) for one in row.metrics for dataset in datasets)]
    for text, narrowed in reversed(orders):
        found = ordered(found, [text], _fields(narrowed))
    asked = ["models", ids, message.text("filter"), orders, datasets]
    page, token = page_of(found, limit, message.text("page_token"), asked)
    return {"models": [model_view(row) for row in page], **({"next_page_token": token} if token else {})}


_ATTRIBUTES: dict[str, Getter[LoggedModel]] = {
    "name": lambda row: row.name,
    "model_id": lambda row: row.id,
    "model_type": lambda row: row.model_type,
    "status": lambda row: row.status.removeprefix("LOGGED_MODEL_"),
    "source_run_id": lambda row: row.source_run_id,
    "experiment_id": lambda row: str(row.experiment.number),
    "creation_timestamp": lambda row: row.created_ms,
    "creation_time": lambda row: row.created_ms,
    "creation_timestamp_ms": lambda row: row.created_ms,
    "last_updated_timestamp": lambda row: row.updated_ms,
    "last_updated_timestamp_ms": lambda row: row.updated_ms,
}


def _fields(datasets: list[tuple[str, str]]) -> Any:
    def metric(key: str) -> Getter[LoggedModel]:
        def read(row: LoggedModel) -> float | None:
            values = [
                float(one["value"])
                for one in row.metrics
                if one["key"] == key and (not datasets or any(_fits(one, name, digest) for name, digest in datasets))
            ]
            return values[-1] if values else None

        return read

    def field(entity: str, key: str) -> Getter[LoggedModel] | None:
        if entity == "metric":
            return metric(key)
        if entity in ("tag", "param"):
            return lambda row: (row.tags if entity == "tag" else row.params).get(key)
        return _ATTRIBUTES.get(key)

    return field


def _fits(metric: dict[str, Any], name: str, digest: str) -> bool:
    return metric.get("dataset_name") == name and (not digest or metric.get("dataset_digest") == digest)


@routes.on("GET", "logged-models/{model_id}", Can.RUN_READ)
def get(call: Call) -> Any:
    row = models.model_find(call.path["model_id"], deleted=call.message.flag("allow_deleted"))
    return {"model": model_view(row)}


@routes.on("PATCH", "logged-models/{model_id}", Can.RUN_WRITE)
def finish(call: Call) -> Any:
    models.model_finish(model_id=call.path["model_id"], status=call.message.raw("status"))
    return _shown(call.path["model_id"])


@routes.on("DELETE", "logged-models/{model_id}", Can.RUN_EDIT)
def delete(call: Call) -> Any:
    models.model_delete(model_id=call.path["model_id"])
    return {}


@routes.on("PATCH", "logged-models/{model_id}/tags", Can.RUN_EDIT)
def set_tags(call: Call) -> Any:
    models.model_tag(model_id=call.path["model_id"], tags=call.message.pairs("tags"))
    return _shown(call.path["model_id"])


@routes.on("DELETE", "logged-models/{model_id}/tags/{path:key}", Can.RUN_EDIT)
def delete_tag(call: Call) -> Any:
    models.model_untag(model_id=call.path["model_id"], key=call.path["key"])
    return {}


@routes.on("POST", "logged-models/{model_id}/params", Can.RUN_WRITE)
def params(call: Call) -> Any:
    models.model_params(model_id=call.path["model_id"], params=call.message.pairs("params"))
    return {}


@routes.on("GET", "logged-models/{model_id}/artifacts/directories", Can.RUN_READ)
def directories(call: Call) -> Any:
    row = models.model_find(call.path["model_id"])
    folder = files.safe(call.message.text("artifact_directory_path").rstrip("/"))
    found = files.listing(files.files_at(files.Place("", row.id, "")), folder)
    rows = [{**entry, "path": f"{folder}/{entry['path']}" if folder else entry["path"]} for entry in found]
    return {"root_uri": artifact_uri(row), "files": rows}


for _method, _path in (
    ("POST", "artifacts/presigned-upload-url"),
    ("POST", "artifacts/presigned-download-url"),
):

    @routes.on(_method, _path, Can.RUN_READ)
    def presigned(call: Call) -> Any:
        raise invalid("Presigned addresses are not offered. Files go through the proxy.")
