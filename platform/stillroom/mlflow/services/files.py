"""Files behind MLflow's artifact proxy. Every path names a run or a logged model of the caller's tenant, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from stillroom.core.errors import Invalid
from stillroom.mlflow.errors import invalid, missing
from stillroom.mlflow.models import LoggedModel
from stillroom.mlflow.services.runs import external, run_find, tracked
from stillroom.telemetry.selectors.artifacts import artifacts, owned_files
from stillroom.telemetry.services.artifacts import path_check
from stillroom.telemetry.services.loose import file_publish, files_remove, owned_publish, owned_remove

ROOT = re.compile(r"\A(?:[^/]+/)*?(?:models/(m-[0-9a-f]{32})|(r_[0-9A-Z]{10}))/artifacts(?:/(.*))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class File:
    """A file as it lies below its root."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Place:
    """A path below the root of a run or of a logged model."""

    run_id: str
    model_id: str
    path: str


def place_of(path: str) -> Place:
    """What a path of the proxy means. INVALID_PARAMETER_VALUE for one that climbs, in whatever disguise."""
    path = safe(path.rstrip("/"))
    found = ROOT.match(path)
    if found is None:
        raise missing("There is no run or model of yours at this path.")
    model, run, rest = found.groups()
    return Place(run or "", model or "", (rest or "").strip("/"))


def safe(path: str) -> str:
    """A relative path with nothing to climb with, also after decoding it again and again."""
    decoded = path
    for _ in range(5):
        again = unquote(decoded)
        if again == decoded:
            break
        decoded = again
    for form in (path, decoded):
        if form.startswith("/") or "\\" in form or "://" in form or ":" in form.split("/", 1)[0][1:2] or any(
            part == ".." or part == "." for part in form.split("/")
        ):  # fmt: skip
            raise invalid("Invalid path")
    if path:
        try:
            path_check(path)
        except Invalid:
            raise invalid("Invalid path") from None
    return path


def files_at(place: Place) -> list[File]:
    """Every file of the root in order of path. Two queries."""
    if place.model_id:
        rows: Iterable[Any] = owned_files(model_at(place).id)
    else:
        rows = artifacts(run_find(place.run_id).id)
    return [File(row.path, row.size_bytes, row.sha256) for row in rows]


def model_at(place: Place) -> LoggedModel:
    """The logged model of a place; RESOURCE_DOES_NOT_EXIST otherwise."""
    found = LoggedModel.objects.filter(id=place.model_id).first()
    if found is None:
        raise missing("There is no run or model of yours at this path.")
    return found


def listing(files: list[File], folder: str) -> list[dict[str, Any]]:
    """The direct members of a folder, names only; nothing for a file's path."""
    folder = folder.strip("/")
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        if not folder or file.path.startswith(f"{folder}/"):
            name, _, below = file.path[len(folder) + 1 if folder else 0 :].partition("/")
            if below:
                found.setdefault(name, {"path": name, "is_dir": True})
            else:
                found[name] = {"path": name, "is_dir": False, "file_size": file.size_bytes}
    return [found[name] for name in sorted(found)]


def writable_place(place: Place) -> None:
    """Refuse to write where there is nothing, where a run is deleted, or where a node writes."""
    if place.model_id:
        model_at(place)
        return
    run = external(run_find(place.run_id))
    if tracked(run).deleted_ms is not None:
        raise invalid(f"The run {run.id} must be in the 'active' state. Current state is deleted.")


def file_put(*, place: Place, sha256: str, size_bytes: int) -> None:
    """Publish stored content at a place; repeating it changes nothing."""
    if not place.path:
        raise invalid("Invalid path")
    if place.run_id:
        file_publish(run_id=place.run_id, path=place.path, sha256=sha256, size_bytes=size_bytes)
        return
    owned_publish(owner=model_at(place).id, path=place.path, sha256=sha256, size_bytes=size_bytes)


def file_delete(*, place: Place) -> None:
    """Remove a file or a folder; removing nothing is no error."""
    writable_place(place)
    if place.run_id:
        files_remove(run_id=place.run_id, path=place.path)
        return
    owned_remove(owner=place.model_id, path=place.path)
