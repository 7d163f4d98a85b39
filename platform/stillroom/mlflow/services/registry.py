"""The model registry: names, versions, aliases, tags, and the stages that MLflow has given up."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from django.db import IntegrityError, transaction

from stillroom.mlflow.errors import MlflowError, invalid, missing
from stillroom.mlflow.limits import MAX_REGISTRY_TAG, check_length, check_name
from stillroom.mlflow.models import LoggedModel, ModelVersion, RegisteredModel
from stillroom.mlflow.services.clock import now_ms
from stillroom.mlflow.services.runs import run_find
from stillroom.tenants.callers import Member

ALIAS = re.compile(r"\A[\w-]{1,255}\Z")
STAGES = {stage.lower(): stage for stage in ("None", "Staging", "Production", "Archived")}
MAX_NAME = 256


def registered_find(name: str, *, lock: bool = False) -> RegisteredModel:
    """A registered model by name; RESOURCE_DOES_NOT_EXIST otherwise."""
    rows = RegisteredModel.objects.select_for_update() if lock else RegisteredModel.objects
    found = rows.filter(name=_name(name)).first()
    if found is None:
        raise missing(f"Registered Model with name={name} not found")
    return found


def _name(name: str) -> str:
    if not name.strip():
        raise invalid("Missing value for required parameter 'name'.")
    if "/" in name or ":" in name:
        raise invalid(f"Invalid model name '{name[:256]}'. Names cannot contain '/' or ':'.")
    if name in (".", ".."):
        raise invalid(f"Invalid value {name!r} for parameter 'name' supplied.")
    return check_length("name", name, MAX_NAME)


def _tags(pairs: list[tuple[str, str]]) -> dict[str, str]:
    for key, value in pairs:
        check_name(key)
        check_length("value", value, MAX_REGISTRY_TAG)
    return dict(pairs)


def registered_create(*, member: Member, name: str, description: str, tags: list[tuple[str, str]]) -> RegisteredModel:
    """A new name; RESOURCE_ALREADY_EXISTS when it is taken."""
    now = now_ms()
    try:
        with transaction.atomic():
            return RegisteredModel.objects.create(
                tenant_id=member.tenant_id, name=_name(name), description=description, tags=_tags(tags),
                created_ms=now, updated_ms=now,
            )  # fmt: skip
    except IntegrityError:
        raise _taken(name) from None


def _taken(name: str) -> MlflowError:
    return MlflowError("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={name}) already exists.")


def registered_change(row: RegisteredModel, **changes: Any) -> RegisteredModel:
    """Write columns and the time of the change."""
    for name, value in changes.items():
        setattr(row, name, value)
    row.updated_ms = now_ms()
    row.save(update_fields=[*changes, "updated_ms"])
    return row


def registered_rename(*, name: str, new_name: str) -> RegisteredModel:
    """Another name; RESOURCE_ALREADY_EXISTS when it is taken."""
    row = registered_find(name, lock=True)
    try:
        with transaction.atomic():
            ModelVersion.objects.filter(model=row).update(updated_ms=now_ms())
            return registered_change(row, name=_name(new_name))
    except IntegrityError:
        raise _taken(new_name) from None


def _check_source(source: str, run_id: str) -> None:
    """A version's files lie at an address elsewhere or with the run it names; never at a path of a machine."""
    scheme, rest = source.partition(":")[0].lower(), source.partition(":")[2]
    local = ":" not in source or len(scheme) < 2 or scheme == "file"
    up = any(part == ".." for part in unquote(unquote(source)).replace("\\", "/").split("/"))
    other = scheme == "runs" and rest.strip("/").partition("/")[0] != run_id
    if local or up or other:
        raise invalid(f"Invalid model version source: '{source[:300]}'.")


def version_create(
    *, member: Member, name: str, source: str, run_id: str, run_link: str, model_id: str, description: str,
    tags: list[tuple[str, str]],
) -> ModelVersion:  # fmt: skip
    """The next version. Run and model, when named, must be the tenant's own."""
    if run_id:
        run_find(run_id)
    if model_id and not LoggedModel.objects.filter(id=model_id[:35]).exists():
        raise missing(f"Logged model with ID '{model_id[:100]}' not found.")
    _check_source(source, run_id)
    checked = _tags(tags)
    row = registered_find(name, lock=True)
    now = now_ms()
    registered_change(row, last_version=row.last_version + 1)
    return ModelVersion.objects.create(
        tenant_id=row.tenant_id, model=row, version=row.last_version, source=source, run_id=run_id, run_link=run_link,
        logged_model=model_id, description=description, tags=checked, user=member.email, created_ms=now, updated_ms=now,
    )  # fmt: skip


def version_find(name: str, version: object, *, lock: bool = False) -> ModelVersion:
    """A version; RESOURCE_DOES_NOT_EXIST otherwise."""
    text = str(version)
    if not (text.isascii() and text.isdecimal()):
        raise invalid(f"Parameter 'version' must be an integer, got '{text[:50]}'.")
    model = registered_find(name)
    rows = ModelVersion.objects.select_for_update(of=("self",)) if lock else ModelVersion.objects
    found = rows.select_related("model").filter(model=model, version=int(text)).first() if len(text) < 10 else None
    if found is None:
        raise missing(f"Model Version (name={name}, version={text[:50]}) not found")
    return found


def version_change(row: ModelVersion, **changes: Any) -> ModelVersion:
    """Write columns and the time of the change, here and on the model."""
    for name, value in changes.items():
        setattr(row, name, value)
    row.updated_ms = now_ms()
    row.save(update_fields=[*changes, "updated_ms"])
    RegisteredModel.objects.filter(id=row.model_id).update(updated_ms=row.updated_ms)
    return row


def version_delete(*, name: str, version: object) -> None:
    """Remove a version and the aliases that point at it. Its number is not used again."""
    row = version_find(name, version, lock=True)
    model = registered_find(name, lock=True)
    registered_change(model, aliases={alias: at for alias, at in model.aliases.items() if at != row.version})
    ModelVersion.objects.filter(id=row.id).delete()


def version_stage(*, name: str, version: object, stage: str, archive: bool) -> ModelVersion:
    """MLflow's former stages; kept for scripts that still ask."""
    wanted = STAGES.get(stage.lower())
    if wanted is None:
        raise invalid(f"Invalid Model Version stage: {stage[:50]}. Value must be one of {', '.join(STAGES.values())}.")
    if archive and wanted not in ("Staging", "Production"):
        raise invalid(f"Model version transition cannot archive existing model versions because '{wanted}' is not an "
                      "Active stage. Valid stages are Staging, Production")  # fmt: skip
    row = version_find(name, version, lock=True)
    if archive:
        ModelVersion.objects.filter(model_id=row.model_id, stage=wanted).exclude(id=row.id).update(
            stage="Archived", updated_ms=now_ms()
        )
    return version_change(row, stage=wanted)


def alias_set(*, name: str, alias: str, version: object) -> None:
    """Point an alias at a version."""
    if not ALIAS.match(alias):
        raise invalid(f"Invalid alias name: '{alias[:300]}'. It may have letters, digits, underscores and dashes.")
    if alias.lower() == "latest":
        raise invalid("'latest' alias name (case insensitive) is reserved.")
    if re.fullmatch(r"[vV]\d+", alias):
        raise invalid(f"Version alias name '{alias}' is reserved.")
    found = version_find(name, version)
    row = registered_find(name, lock=True)
    registered_change(row, aliases={**row.aliases, alias: found.version})


def alias_delete(*, name: str, alias: str) -> None:
    """Remove an alias; removing none is no error."""
    row = registered_find(name, lock=True)
    registered_change(row, aliases={key: at for key, at in row.aliases.items() if key != alias})


def alias_find(*, name: str, alias: str) -> ModelVersion:
    """The version that an alias points at."""
    row = registered_find(name)
    if alias.lower() == "latest":
        newest = ModelVersion.objects.select_related("model").filter(model=row).order_by("-version").first()
        if newest is not None:
            return newest
    if alias not in row.aliases:
        raise invalid(f"Registered model alias {alias[:300]} not found.")
    return version_find(name, row.aliases[alias])
