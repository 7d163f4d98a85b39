"""Doors through which data leaves and comes in: a run's points as a file, a project as an archive."""

from __future__ import annotations

from typing import Annotated, Literal

from django.http import HttpResponseBase, StreamingHttpResponse
from ninja import Query, Status

from stillroom.runs.selectors import project_get, run_access
from stillroom.telemetry.api.artifacts import attached, body_of, streamed
from stillroom.telemetry.schemas import ImportedOut
from stillroom.telemetry.selectors.export import MEDIA_TYPES, in_pieces, points_file, project_archive
from stillroom.telemetry.services.imports import archive_receive, project_import
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["export"])


@door.get("/runs/{run}/export", needs=Can.RUN_READ, response={200: None})
def run_export(
    request: DoorRequest,
    run: str,
    format: Literal["csv", "jsonl", "parquet"] = "csv",
    key: Annotated[list[str], Query()] = [],  # noqa: B006  (ninja reads the default, nobody mutates it)
) -> HttpResponseBase:
    """Every visible point of a run as one file with columns key, step, time, value; only some keys when given."""
    with run_access(request.door, run) as (_, found):
        file = points_file(found.id, format, key or None)
    response = StreamingHttpResponse(streamed(in_pieces(file)), content_type=MEDIA_TYPES[format])
    return attached(response, f"{found.id}.{format}")


@door.get("/orgs/{org}/projects/{project}/export", needs=Can.RUN_READ, response={200: None})
def project_export(request: DoorRequest, org: str, project: str) -> HttpResponseBase:
    """The whole project as an archive that another installation imports; see the how-to for its layout."""
    with request.door.org(org) as member:
        found = project_get(project)
    pieces = project_archive(tenant_id=member.tenant_id, org=member.org, project_id=found.id, by=member.email)
    response = StreamingHttpResponse(streamed(pieces), content_type="application/zip")
    return attached(response, f"{found.slug}.zip")


@door.post("/orgs/{org}/projects/{project}/import", needs=Can.RUN_SUBMIT, response={201: ImportedOut})
def project_take(request: DoorRequest, org: str, project: str) -> object:
    """Take in an archive (the body, application/zip): its studies and runs with new ids, all or nothing."""
    with request.door.org(org) as member:
        found = project_get(project)
    with archive_receive(tenant_id=member.tenant_id, chunks=body_of(request)) as file:
        return Status(201, project_import(member=member, project_id=found.id, file=file))
