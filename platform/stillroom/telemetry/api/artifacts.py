"""Doors to artifacts: streamed in, listed, and read back with ranges."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from ninja import Status

from stillroom.core.errors import Invalid
from stillroom.core.http import SANDBOX_POLICY
from stillroom.core.tenancy import tenant_tx
from stillroom.runs.selectors import run_access
from stillroom.telemetry.schemas import ArtifactList, ArtifactOut
from stillroom.telemetry.selectors.artifacts import artifact_get, artifacts
from stillroom.telemetry.services.artifacts import artifact_publish, artifact_receive, path_check, size_check
from stillroom.telemetry.store import CHUNK, store
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["artifacts"])
RANGE = re.compile(r"\Abytes=(\d*)-(\d*)\Z")


@contextmanager
def run_scope(request: DoorRequest, run: str) -> Iterator[str]:
    """Enter the run's tenant as its attempt or as a member; yields the tenant."""
    grant = request.door.run_grant(run)
    if grant is not None:
        with tenant_tx(grant.tenant_id):
            yield grant.tenant_id
        return
    with run_access(request.door, run) as (member, _):
        yield member.tenant_id


@door.get("/runs/{run}/artifacts", needs=Can.RUN_READ, response=ArtifactList)
def artifact_list(request: DoorRequest, run: str) -> object:
    """The run's files, each path once."""
    with run_scope(request, run):
        return {"items": artifacts(run)}


@door.put("/runs/{run}/artifacts/{path:path}", needs=Can.RUN_WRITE, response={201: ArtifactOut})
def artifact_put(request: DoorRequest, run: str, path: str, epoch: int, sha256: str | None = None) -> object:
    """Store a file of the current attempt. Repeating the call changes nothing."""
    path = path_check(path)
    with run_scope(request, run) as tenant:
        pass
    length = request.headers.get("Content-Length", "")
    if length.isdecimal():
        size_check(int(length))
    digest, size = artifact_receive(tenant_id=tenant, chunks=body_of(request), sha256=sha256)
    with tenant_tx(tenant):
        return Status(201, artifact_publish(run_id=run, epoch=epoch, path=path, sha256=digest, size_bytes=size))


@door.get("/runs/{run}/artifacts/{path:path}", needs=Can.RUN_READ, response={200: None, 206: None, 302: None})
def artifact_read(request: DoorRequest, run: str, path: str, sha256: str | None = None) -> HttpResponseBase:
    """A file's bytes, whole or in a range; 302 to the store when the installation serves downloads from there."""
    with run_scope(request, run) as tenant:
        row = artifact_get(run, path_check(path), sha256)
    name = Path(row.path).name
    # An attempt gets the bytes from here: its client does not follow addresses, and need not reach the bucket.
    if request.door.caller.run is None:
        address = store().address(tenant, row.sha256, name=name, media_type=row.media_type)
        if address is not None:
            return HttpResponseRedirect(address)
    response = content_response(
        request, tenant=tenant, sha256=row.sha256, size_bytes=row.size_bytes, media_type=row.media_type
    )
    return attached(response, name)


def content_response(
    request: HttpRequest, *, tenant: str, sha256: str, size_bytes: int, media_type: str
) -> HttpResponseBase:
    """Stored content, whole or in the range asked for; 304 when the caller has it. Raises Invalid with status 416."""
    response: HttpResponseBase
    if request.headers.get("If-None-Match") == f'"{sha256}"':
        response = HttpResponse(status=304)
    else:
        start, stop, partial = _range(request.headers.get("Range", ""), size_bytes)
        pieces = store().read(tenant, sha256, start, stop)
        response = StreamingHttpResponse(streamed(pieces), content_type=media_type, status=206 if partial else 200)
        response["Content-Length"] = str(stop - start)
        if partial:
            response["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = f'"{sha256}"'
    return response


def attached(response: HttpResponseBase, name: str) -> HttpResponseBase:
    """What keeps a hostile file from running: saved instead of shown, its type believed, all inside forbidden."""
    response["Content-Security-Policy"] = SANDBOX_POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    return response


def body_of(request: DoorRequest) -> Iterator[bytes]:
    """The request's body in pieces."""
    return iter(lambda: request.read(CHUNK), b"")


def _range(header: str, size: int) -> tuple[int, int, bool]:
    found = RANGE.match(header.strip())
    if not header or found is None or found.group(0) == "bytes=-":
        return 0, size, False
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
    if start >= stop:
        error = Invalid(
            f"The range lies outside the {size} bytes.", fields={"Range": f"0 to {size - 1}."}, code="range"
        )
        error.status = 416  # type: ignore[misc]
        raise error
    return start, stop, True


async def streamed(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces that are read in a thread, so that a slow disk or store holds up nobody else."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
