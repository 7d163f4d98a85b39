"""Doors to a first look into files."""

from __future__ import annotations

from django.http import HttpResponse, HttpResponseBase

from stillroom.telemetry.api.artifacts import attached, run_scope
from stillroom.telemetry.schemas import PreviewOut
from stillroom.telemetry.selectors.artifacts import artifact_get
from stillroom.telemetry.selectors.previews import preview, thumbnail
from stillroom.telemetry.services.artifacts import path_check
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["artifacts"])


@door.get("/runs/{run}/previews/{path:path}", needs=Can.RUN_READ, response=PreviewOut)
def artifact_preview(request: DoorRequest, run: str, path: str) -> object:
    """What a file is, and its beginning: size of an image, length of a sound, head of a text, first rows of a table."""
    with run_scope(request, run) as tenant:
        row = artifact_get(run, path_check(path))
    return preview(tenant, row)


@door.get("/runs/{run}/thumbnails/{path:path}", needs=Can.RUN_READ, response={200: None})
def artifact_thumbnail(request: DoorRequest, run: str, path: str, size: int = 256) -> HttpResponseBase:
    """An image, at most `size` pixels wide and high, as PNG."""
    with run_scope(request, run) as tenant:
        row = artifact_get(run, path_check(path))
    etag = f'"{row.sha256}-{size}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304)
    response = HttpResponse(thumbnail(tenant, row, size), content_type="image/png")
    response["ETag"] = etag
    return attached(response, "thumbnail.png")
