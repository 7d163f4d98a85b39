"""runs/*."""

from __future__ import annotations

import json
from typing import Any

import orjson

from stillroom.mlflow.api.addresses import routes
from stillroom.mlflow.door import Call
from stillroom.mlflow.errors import invalid, missing
from stillroom.mlflow.limits import (
    MAX_BATCH_BYTES,
    MAX_DATASET_NAME,
    MAX_DATASETS,
    MAX_DIGEST,
    MAX_PROFILE,
    MAX_SCHEMA,
    MAX_SOURCE,
    check_count,
    check_length,
    check_name,
)
from stillroom.mlflow.messages import Message
from stillroom.mlflow.models import Experiment, LoggedModel
from stillroom.mlflow.selectors.experiments import view_type
from stillroom.mlflow.selectors.runs import run_views, runs_found
from stillroom.mlflow.services import logging, runs
from stillroom.mlflow.services.experiments import experiment_find, experiments_asked
from stillroom.mlflow.services.models import metrics_link
from stillroom.tenants.policies import Can

MAX_PAGE = 50_000
MANDATORY = frozenset({"artifact_path", "flavors", "utc_time_created", "run_id"})
HISTORY_TAG = "mlflow.log-model.history"


def run_id(call: Call) -> str:
    """The run that a request names, in either of its two fields."""
    return call.message.required("run_id", alias="run_uuid")


@routes.on("POST", "runs/create", Can.RUN_SUBMIT)
def create(call: Call) -> Any:
    message = call.message
    run = runs.run_create(
        member=call.member,
        experiment=experiment_find(call.member, message.required("experiment_id")),
        user=message.text("user_id"),
        name=message.text("run_name"),
        start_ms=message.whole("start_time"),
        tags=message.pairs("tags"),
    )
    return {"run": run_views([run.id])[0]}


@routes.on("GET", "runs/get", Can.RUN_READ)
def get(call: Call) -> Any:
    return {"run": run_views([runs.run_find(run_id(call)).id])[0]}


@routes.on("POST", "runs/update", Can.RUN_EDIT)
def update(call: Call) -> Any:
    message = call.message
    found = run_id(call)
    runs.run_update(
        member=call.member, run_id=found, status=message.raw("status"), end_ms=message.whole("end_time"),
        name=message.text("run_name"),
    )  # fmt: skip
    return {"run_info": run_views([found], data=False)[0]["info"]}


@routes.on("POST", "runs/delete", Can.RUN_EDIT)
def delete(call: Call) -> Any:
    runs.run_delete(run_id=run_id(call))
    return {}


@routes.on("POST", "runs/restore", Can.RUN_EDIT)
def restore(call: Call) -> Any:
    runs.run_restore(run_id=run_id(call))
    return {}


@routes.on("POST", "runs/log-batch", Can.RUN_WRITE)
def log_batch(call: Call) -> Any:
    size = len(call.request.body)
    if size > MAX_BATCH_BYTES:
        raise invalid(
            f"Batched logging API requests must be at most {MAX_BATCH_BYTES} bytes, got a request of size {size}."
        )
    found = run_id(call)
    logging.batch_log(member=call.member, run_id=found, message=call.message)
    metrics_link(found, call.message.items("metrics"))
    return {}


@routes.on("POST", "runs/log-metric", Can.RUN_WRITE)
def log_metric(call: Call) -> Any:
    found = run_id(call)
    series = logging.columns([logging.metric_of(call.message)])
    logging.alive(call.member, found)
    logging.points_log(found, series)
    metrics_link(found, [call.message.fields])
    return {}


@routes.on("POST", "runs/log-parameter", Can.RUN_WRITE)
def log_parameter(call: Call) -> Any:
    pair = (call.message.required("key"), call.message.text("value"))
    logging.params_log(member=call.member, run_id=run_id(call), params=[pair])
    return {}


@routes.on("POST", "runs/set-tag", Can.RUN_EDIT)
def set_tag(call: Call) -> Any:
    runs.tags_set(run_id=run_id(call), tags=[(call.message.required("key"), call.message.text("value"))])
    return {}


@routes.on("POST", "runs/delete-tag", Can.RUN_EDIT)
def delete_tag(call: Call) -> Any:
    runs.tag_delete(run_id=run_id(call), key=check_name(call.message.required("key")))
    return {}


@routes.on("POST", "runs/search", Can.RUN_READ)
def search(call: Call) -> Any:
    message = call.message
    numbers, projects = experiments_asked(message.texts("experiment_ids"))
    projects |= set(Experiment.objects.filter(number__in=numbers).values_list("project_id", flat=True))
    raw = message.raw("run_view_type")
    ids, token = runs_found(
        projects=sorted(projects),
        query=message.text("filter"),
        view=view_type(str(raw) if isinstance(raw, int) else message.text("run_view_type")),
        order=message.texts("order_by"),
        limit=message.between("max_results", 1000, 1, MAX_PAGE),
        token=message.text("page_token"),
    )
    return {"runs": run_views(ids), **({"next_page_token": token} if token else {})}


@routes.on("POST", "runs/log-inputs", Can.RUN_WRITE)
def log_inputs(call: Call) -> Any:
    message = call.message
    datasets = message.objects("datasets")
    check_count("datasets", len(datasets), MAX_DATASETS)
    models = [model.required("model_id") for model in message.objects("models")]
    _check_models(models)
    entries = [_dataset(entry, f"datasets[{index}].") for index, entry in enumerate(datasets)]
    runs.inputs_log(run_id=run_id(call), datasets=entries, models=models)
    return {}


def _dataset(entry: Message, at: str) -> dict[str, Any]:
    inner = entry.raw("dataset")
    if not isinstance(inner, dict):
        raise invalid(f"Missing value for required parameter '{at}dataset'.")
    message = Message(inner)
    limits = {
        "name": MAX_DATASET_NAME, "digest": MAX_DIGEST, "source_type": MAX_DIGEST, "source": MAX_SOURCE,
        "schema": MAX_SCHEMA, "profile": MAX_PROFILE,
    }  # fmt: skip
    for name in ("name", "digest", "source_type", "source"):
        message.required(name)
    dataset = {name: check_length(f"{at}dataset.{name}", message.text(name), limit) for name, limit in limits.items()}
    tags = []
    for key, value in entry.pairs("tags"):
        check_length(f"{at}tags.key", key, 255)
        check_length(f"{at}tags.value", value, 500)
        tags.append({"key": key, "value": value})
    return {"tags": tags, "dataset": {name: value for name, value in dataset.items() if value}}


def _check_models(models: list[str]) -> None:
    known = set(LoggedModel.objects.filter(id__in=models).values_list("id", flat=True))
    for model in models:
        if model not in known:
            raise missing(f"Logged model with ID '{model[:100]}' not found.")


@routes.on("POST", "runs/outputs", Can.RUN_WRITE)
def outputs(call: Call) -> Any:
    models = [
        {"model_id": one.required("model_id"), "step": one.whole("step", 0)} for one in call.message.objects("models")
    ]
    if not models:
        raise invalid("Missing value for required parameter 'models'.")
    _check_models([str(model["model_id"]) for model in models])
    runs.outputs_log(run_id=run_id(call), models=models)
    return {}


@routes.on("POST", "runs/log-model", Can.RUN_WRITE)
def log_model(call: Call) -> Any:
    """What older clients record beside the files of a model."""
    text = call.message.required("model_json")
    try:
        model = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise invalid(f"Malformed model info. \n {text[:300]} \n is not a valid JSON.") from None
    if not isinstance(model, dict) or not set(model) >= MANDATORY:
        raise invalid(f"Model json is missing mandatory fields: {', '.join(sorted(MANDATORY))}")
    found = run_id(call)
    run, row = runs.writable(found)
    try:
        history = json.loads(run.tags.get(HISTORY_TAG, "[]"))
    except ValueError:
        history = []
    tags = {HISTORY_TAG: json.dumps([*history, model])}
    runs.tags_write(run, row, tags)
    return {}
