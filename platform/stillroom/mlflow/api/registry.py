"""registered-models/* and model-versions/*."""

from __future__ import annotations

from typing import Any

from stillroom.mlflow.api.addresses import routes
from stillroom.mlflow.api.models import artifact_uri
from stillroom.mlflow.door import Call
from stillroom.mlflow.limits import check_length, check_name
from stillroom.mlflow.messages import key_values, without_nothing
from stillroom.mlflow.models import LoggedModel, ModelVersion, RegisteredModel
from stillroom.mlflow.paging import page_of
from stillroom.mlflow.selectors.matching import Getter, matching, ordered
from stillroom.mlflow.services import registry
from stillroom.tenants.policies import Can


def version_view(row: ModelVersion) -> dict[str, Any]:
    """The object on the wire."""
    return {
        "name": row.model.name,
        "version": str(row.version),
        "creation_timestamp": row.created_ms,
        "last_updated_timestamp": row.updated_ms,
        "user_id": row.user,
        "current_stage": row.stage,
        "description": row.description,
        "source": row.source,
        "run_id": row.run_id,
        "run_link": row.run_link,
        "status": "READY",
        **without_nothing(
            (
                ("model_id", row.logged_model),
                ("tags", key_values(row.tags)),
                ("aliases", [alias for alias, at in row.model.aliases.items() if at == row.version]),
            )
        ),
    }


def registered_view(row: RegisteredModel) -> dict[str, Any]:
    """The object on the wire, with the newest version of each stage."""
    newest: dict[str, ModelVersion] = {}
    for version in row.versions.select_related("model").order_by("version"):
        newest[version.stage] = version
    return {
        "name": row.name,
        "creation_timestamp": row.created_ms,
        "last_updated_timestamp": row.updated_ms,
        "description": row.description,
        **without_nothing(
            (
                ("latest_versions", [version_view(version) for version in newest.values()]),
                ("tags", key_values(row.tags)),
                ("aliases", [{"alias": alias, "version": str(at)} for alias, at in sorted(row.aliases.items())]),
            )
        ),
    }


def _registered(row: RegisteredModel) -> dict[str, Any]:
    return {"registered_model": registered_view(row)}


@routes.on("POST", "registered-models/create", Can.RUN_WRITE)
def create(call: Call) -> Any:
    message = call.message
    return _registered(
        registry.registered_create(
            member=call.member, name=message.required("name"), description=message.text("description"),
            tags=message.pairs("tags"),
        )
    )  # fmt: skip


@routes.on("GET", "registered-models/get", Can.RUN_READ)
def get(call: Call) -> Any:
    return _registered(registry.registered_find(call.message.required("name")))


@routes.on("POST", "registered-models/rename", Can.RUN_EDIT)
def rename(call: Call) -> Any:
    message = call.message
    return _registered(registry.registered_rename(name=message.required("name"), new_name=message.required("new_name")))


@routes.on("PATCH", "registered-models/update", Can.RUN_EDIT)
def update(call: Call) -> Any:
    row = registry.registered_find(call.message.required("name"), lock=True)
    return _registered(registry.registered_change(row, description=call.message.text("description")))


@routes.on("DELETE", "registered-models/delete", Can.RUN_EDIT)
def delete(call: Call) -> Any:
    registry.registered_find(call.message.required("name"), lock=True).delete()
    return {}


@routes.on("GET", "registered-models/search", Can.RUN_READ)
def search(call: Call) -> Any:
    message = call.message
    fields: dict[str, Getter[RegisteredModel]] = {
        "name": lambda row: row.name,
        "timestamp": lambda row: row.updated_ms,
        "last_updated_timestamp": lambda row: row.updated_ms,
        "creation_timestamp": lambda row: row.created_ms,
    }
    query, order = message.text("filter"), message.texts("order_by")
    found = matching(RegisteredModel.objects.order_by("name"), query, _fields(fields))
    found = ordered(found, order or ["name"], _fields(fields))
    limit = message.between("max_results", 100, 1, 1000)
    page, token = page_of(found, limit, message.text("page_token"), ["registered", query, order])
    return {
        "registered_models": [registered_view(row) for row in page],
        **({"next_page_token": token} if token else {}),
    }


PROMPT_TAG = "mlflow.prompt.is_prompt"  # clients always ask for what is no prompt; here nothing is


def _fields(attributes: dict[str, Any]) -> Any:
    def field(entity: str, key: str) -> Getter[Any] | None:
        if entity == "tag":
            return lambda row: row.tags.get(key, "false" if key == PROMPT_TAG else None)
        return attributes.get(key) if entity == "attribute" else None

    return field


def _latest(call: Call) -> Any:
    row = registry.registered_find(call.message.required("name"))
    wanted = {stage.lower() for stage in call.message.texts("stages")}
    newest: dict[str, ModelVersion] = {}
    for version in row.versions.select_related("model").order_by("version"):
        if not wanted or version.stage.lower() in wanted:
            newest[version.stage] = version
    return {"model_versions": [version_view(version) for version in newest.values()]}


routes.on("GET", "registered-models/get-latest-versions", Can.RUN_READ)(_latest)
routes.on("POST", "registered-models/get-latest-versions", Can.RUN_READ)(_latest)


@routes.on("POST", "registered-models/set-tag", Can.RUN_EDIT)
def set_tag(call: Call) -> Any:
    message = call.message
    key, value = check_name(message.required("key")), check_length("value", message.text("value"), 100_000)
    row = registry.registered_find(message.required("name"), lock=True)
    registry.registered_change(row, tags={**row.tags, key: value})
    return {}


@routes.on("DELETE", "registered-models/delete-tag", Can.RUN_EDIT)
def delete_tag(call: Call) -> Any:
    row = registry.registered_find(call.message.required("name"), lock=True)
    key = call.message.required("key")
    registry.registered_change(row, tags={name: value for name, value in row.tags.items() if name != key})
    return {}


@routes.on("POST", "registered-models/alias", Can.RUN_EDIT)
def set_alias(call: Call) -> Any:
    message = call.message
    registry.alias_set(name=message.required("name"), alias=message.required("alias"), version=message.raw("version"))
    return {}


@routes.on("DELETE", "registered-models/alias", Can.RUN_EDIT)
def delete_alias(call: Call) -> Any:
    registry.alias_delete(name=call.message.required("name"), alias=call.message.required("alias"))
    return {}


def _version(row: ModelVersion) -> dict[str, Any]:
    return {"model_version": version_view(row)}


@routes.on("GET", "registered-models/alias", Can.RUN_READ)
def get_by_alias(call: Call) -> Any:
    return _version(registry.alias_find(name=call.message.required("name"), alias=call.message.required("alias")))


@routes.on("POST", "model-versions/create", Can.RUN_WRITE)
def version_create(call: Call) -> Any:
    message = call.message
    return _version(
        registry.version_create(
            member=call.member, name=message.required("name"), source=message.required("source"),
            run_id=message.text("run_id"), run_link=message.text("run_link"), model_id=message.text("model_id"),
            description=message.text("description"), tags=message.pairs("tags"),
        )
    )  # fmt: skip


def _asked(call: Call, *, lock: bool = False) -> ModelVersion:
    return registry.version_find(call.message.required("name"), call.message.raw("version"), lock=lock)


@routes.on("GET", "model-versions/get", Can.RUN_READ)
def version_get(call: Call) -> Any:
    return _version(_asked(call))


@routes.on("PATCH", "model-versions/update", Can.RUN_EDIT)
def version_update(call: Call) -> Any:
    return _version(registry.version_change(_asked(call, lock=True), description=call.message.text("description")))


@routes.on("DELETE", "model-versions/delete", Can.RUN_EDIT)
def version_delete(call: Call) -> Any:
    registry.version_delete(name=call.message.required("name"), version=call.message.raw("version"))
    return {}


@routes.on("POST", "model-versions/transition-stage", Can.RUN_EDIT)
def version_stage(call: Call) -> Any:
    message = call.message
    return _version(
        registry.version_stage(
            name=message.required("name"), version=message.raw("version"), stage=message.required("stage"),
            archive=message.flag("archive_existing_versions"),
        )
    )  # fmt: skip


@routes.on("GET", "model-versions/search", Can.RUN_READ)
def version_search(call: Call) -> Any:
    message = call.message
    fields: dict[str, Getter[ModelVersion]] = {
        "name": lambda row: row.model.name,
        "version_number": lambda row: row.version,
        "version": lambda row: row.version,
        "run_id": lambda row: row.run_id,
        "source_path": lambda row: row.source,
        "source": lambda row: row.source,
        "creation_timestamp": lambda row: row.created_ms,
        "last_updated_timestamp": lambda row: row.updated_ms,
    }
    query, order = message.text("filter"), message.texts("order_by")
    rows = ModelVersion.objects.select_related("model").order_by("-updated_ms", "model__name", "-version")
    found = ordered(matching(rows, query, _fields(fields)), order, _fields(fields))
    limit = message.between("max_results", 10_000, 1, 200_000)
    page, token = page_of(found, limit, message.text("page_token"), ["versions", query, order])
    return {"model_versions": [version_view(row) for row in page], **({"next_page_token": token} if token else {})}


@routes.on("GET", "model-versions/get-download-uri", Can.RUN_READ)
def version_uri(call: Call) -> Any:
    row = _asked(call)
    model = LoggedModel.objects.select_related("experiment").filter(id=row.logged_model).first()
    return {"artifact_uri": artifact_uri(model) if model and row.source.startswith("models:/") else row.source}


@routes.on("POST", "model-versions/set-tag", Can.RUN_EDIT)
def version_set_tag(call: Call) -> Any:
    message = call.message
    key, value = check_name(message.required("key")), check_length("value", message.text("value"), 100_000)
    row = _asked(call, lock=True)
    registry.version_change(row, tags={**row.tags, key: value})
    return {}


@routes.on("DELETE", "model-versions/delete-tag", Can.RUN_EDIT)
def version_delete_tag(call: Call) -> Any:
    row, key = _asked(call, lock=True), call.message.required("key")
    registry.version_change(row, tags={name: value for name, value in row.tags.items() if name != key})
    return {}
