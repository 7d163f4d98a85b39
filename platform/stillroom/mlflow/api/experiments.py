"""experiments/*."""

from __future__ import annotations

from typing import Any

from stillroom.mlflow.api.addresses import routes
from stillroom.mlflow.door import Call
from stillroom.mlflow.errors import invalid
from stillroom.mlflow.limits import check_name
from stillroom.mlflow.models import Experiment, TrackedRun
from stillroom.mlflow.selectors.experiments import experiment_view, experiments_found, view_type
from stillroom.mlflow.services import experiments
from stillroom.tenants.policies import Can

MAX_PAGE = 50_000


def _asked(call: Call) -> Experiment:
    return experiments.experiment_find(call.member, call.message.required("experiment_id"))


@routes.on("POST", "experiments/create", Can.RUN_SUBMIT)
def create(call: Call) -> Any:
    message = call.message
    made = experiments.experiment_create(
        member=call.member,
        name=message.required("name"),
        tags=message.pairs("tags"),
        artifact_location=message.text("artifact_location"),
    )
    return {"experiment_id": str(made.number)}


@routes.on("GET", "experiments/get", Can.RUN_READ)
def get(call: Call) -> Any:
    return {"experiment": experiment_view(_asked(call))}


@routes.on("GET", "experiments/get-by-name", Can.RUN_READ)
def get_by_name(call: Call) -> Any:
    return {
        "experiment": experiment_view(
            experiments.experiment_named(call.member, call.message.required("experiment_name"))
        )
    }


def _search(call: Call) -> Any:
    message = call.message
    experiments.experiments_ensure(call.member)
    if message.given("max_results") and message.whole("max_results", 1) is not None:
        limit = message.between("max_results", 1000, 1, MAX_PAGE)
    else:
        limit = 1000
    found, token = experiments_found(
        view=view_type(
            message.text("view_type")
            if not isinstance(message.raw("view_type"), int)
            else str(message.raw("view_type"))
        ),
        query=message.text("filter"),
        order=message.texts("order_by"),
        limit=limit,
        token=message.text("page_token"),
    )
    return {"experiments": [experiment_view(row) for row in found], **({"next_page_token": token} if token else {})}


routes.on("POST", "experiments/search", Can.RUN_READ)(_search)
routes.on("GET", "experiments/search", Can.RUN_READ)(_search)


@routes.on("POST", "experiments/update", Can.RUN_EDIT)
def update(call: Call) -> Any:
    experiments.experiment_rename(experiment=_asked(call), name=call.message.required("new_name"))
    return {}


@routes.on("POST", "experiments/delete", Can.RUN_EDIT)
def delete(call: Call) -> Any:
    experiments.experiment_delete(experiment=_asked(call))
    return {}


@routes.on("POST", "experiments/restore", Can.RUN_EDIT)
def restore(call: Call) -> Any:
    experiments.experiment_restore(experiment=_asked(call))
    return {}


@routes.on("POST", "experiments/set-experiment-tag", Can.RUN_EDIT)
def set_tag(call: Call) -> Any:
    message = call.message
    experiments.experiment_tag(experiment=_asked(call), key=message.required("key"), value=message.text("value"))
    return {}


@routes.on("POST", "experiments/delete-experiment-tag", Can.RUN_EDIT)
def delete_tag(call: Call) -> Any:
    experiments.experiment_untag(experiment=_asked(call), key=check_name(call.message.required("key")))
    return {}


@routes.on("POST", "experiments/search-datasets", Can.RUN_READ)
def search_datasets(call: Call) -> Any:
    """Data sets that the experiments' runs have read, each once by name, digest and context."""
    ids = call.message.texts("experiment_ids")
    if not 1 <= len(ids) <= 20:
        raise invalid("SearchDatasets request must specify 1 to 20 experiment_ids.")
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for text in ids:
        experiment = experiments.experiment_find(call.member, text)
        rows = TrackedRun.objects.filter(run__project_id=experiment.project_id, deleted_ms__isnull=True)
        for inputs in rows.exclude(inputs=[]).values_list("inputs", flat=True)[:1000]:
            for entry in inputs:
                tags = {tag["key"]: tag["value"] for tag in entry["tags"]}
                summary = {
                    "experiment_id": str(experiment.number),
                    "name": entry["dataset"]["name"],
                    "digest": entry["dataset"]["digest"],
                    "context": tags.get("mlflow.data.context", ""),
                }
                found[tuple(summary.values())] = summary
    return {"dataset_summaries": list(found.values())}
