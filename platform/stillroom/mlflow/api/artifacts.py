"""artifacts/list, and the mlflow-artifacts proxy: streamed in, listed, read with ranges, deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.http import HttpResponseBase

from stillroom.core.errors import Invalid
from stillroom.core.tenancy import tenant_tx
from stillroom.mlflow.api.addresses import artifact_routes, routes
from stillroom.mlflow.api.runs import run_id
from stillroom.mlflow.door import Call
from stillroom.mlflow.errors import MlflowError, missing
from stillroom.mlflow.selectors.runs import run_views
from stillroom.mlflow.services import files
from stillroom.mlflow.services.runs import run_find
from stillroom.telemetry.api.artifacts import attached, content_response
from stillroom.telemetry.services.artifacts import artifact_receive, media_type_of
from stillroom.telemetry.store import CHUNK
from stillroom.tenants.policies import Can

UNSUPPORTED = "Multipart upload is not supported for the current artifact repository"


@routes.on("GET", "artifacts/list", Can.RUN_READ)
def artifacts_list(call: Call) -> Any:
    """Files of a run; paths are relative to its root."""
    run = run_find(run_id(call))
    folder = files.safe(call.message.text("path").rstrip("/"))
    found = files.listing(files.files_at(files.Place(run.id, "", "")), folder)
    rows = [{**entry, "path": f"{folder}/{entry['path']}" if folder else entry["path"]} for entry in found]
    return {"root_uri": run_views([run.id], data=False)[0]["info"]["artifact_uri"], "files": rows}


@artifact_routes.on("GET", "artifacts", Can.RUN_READ)
def proxy_list(call: Call) -> Any:
    """Members of a folder; paths are relative to the folder."""
    place = files.place_of(call.message.text("path"))
    return {"files": files.listing(files.files_at(place), place.path)}


@artifact_routes.on("GET", "artifacts/{path:path}", Can.RUN_READ, streams=True)
def proxy_get(call: Call) -> HttpResponseBase:
    place = files.place_of(call.path["path"])
    with tenant_tx(call.member.tenant_id):
        found = next((file for file in files.files_at(place) if file.path == place.path), None)
    if found is None:
        raise missing(f"No such artifact: '{place.path[:300]}'")
    try:
        response = content_response(
            call.request,
            tenant=call.member.tenant_id,
            sha256=found.sha256,
            size_bytes=found.size_bytes,
            media_type=media_type_of(found.path),
        )
    except Invalid as error:
        raise MlflowError("INVALID_PARAMETER_VALUE", error.message, status=error.status) from None
    return attached(response, Path(found.path).name)


@artifact_routes.on("PUT", "artifacts/{path:path}", Can.RUN_WRITE, streams=True)
def proxy_put(call: Call) -> Any:
    place = files.place_of(call.path["path"])
    with tenant_tx(call.member.tenant_id):
        files.writable_place(place)
    chunks = iter(lambda: call.request.read(CHUNK), b"")
    sha256, size = artifact_receive(tenant_id=call.member.tenant_id, chunks=chunks, sha256=None)
    with tenant_tx(call.member.tenant_id):
        files.file_put(place=place, sha256=sha256, size_bytes=size)
    return {}


@artifact_routes.on("DELETE", "artifacts/{path:path}", Can.RUN_EDIT, streams=True)
def proxy_delete(call: Call) -> Any:
    with tenant_tx(call.member.tenant_id):
        files.file_delete(place=files.place_of(call.path["path"]))
    return {}


@artifact_routes.on("POST", "mpu/{step}/{path:path}", Can.RUN_WRITE)
def multipart(call: Call) -> Any:
    """Refused with the words that make a client send the file in one piece."""
    files.place_of(call.path["path"])
    raise MlflowError("NOT_IMPLEMENTED", UNSUPPORTED)


@artifact_routes.on("GET", "presigned/{path:path}", Can.RUN_READ)
def presigned(call: Call) -> Any:
    """Refused: downloads go through this door."""
    files.place_of(call.path["path"])
    raise MlflowError("NOT_IMPLEMENTED", "Presigned downloads are not offered. Download through the proxy.")
