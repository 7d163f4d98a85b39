"""Doors to uploads in pieces: resumable at an offset, or in parallel parts."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpResponse
from ninja import Header, Status

from stillroom.core.errors import Invalid
from stillroom.core.tenancy import tenant_tx
from stillroom.telemetry.api.artifacts import body_of, run_scope
from stillroom.telemetry.models import Upload
from stillroom.telemetry.schemas import ArtifactOut, OffsetOut, PartOut, UploadIn, UploadOut
from stillroom.telemetry.services import uploads
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["artifacts"])


def _out(row: Upload) -> dict[str, object]:
    offset, parts = uploads.offset_of(row), uploads.parts_of(row)
    fields = ("id", "path", "epoch", "size_bytes", "sha256", "done")
    return {**{name: getattr(row, name) for name in fields}, "offset": offset, "parts": parts}


def _found(request: DoorRequest, run: str, upload: str) -> Upload:
    with run_scope(request, run):
        return uploads.upload_get(run_id=run, upload_id=upload)


@door.post("/runs/{run}/uploads", needs=Can.RUN_WRITE, response={201: UploadOut})
def upload_make(request: DoorRequest, run: str, payload: UploadIn) -> object:
    """Begin an upload of a file of the current attempt."""
    with run_scope(request, run):
        row = uploads.upload_create(
            run_id=run,
            epoch=payload.epoch,
            path=payload.path,
            size_bytes=payload.size_bytes,
            sha256=payload.sha256,
        )
        return Status(201, _out(row))


@door.get("/runs/{run}/uploads/{upload}", needs=Can.RUN_WRITE, response=UploadOut)
def upload_state(request: DoorRequest, run: str, upload: str) -> object:
    """How far an upload has come: bytes appended, and parts with their sizes."""
    return _out(_found(request, run, upload))


@door.head("/runs/{run}/uploads/{upload}", needs=Can.RUN_WRITE, response={200: None})
def upload_offset(request: DoorRequest, run: str, upload: str) -> HttpResponse:
    """The same in headers: Upload-Offset and Upload-Length."""
    row = _found(request, run, upload)
    headers = {"Upload-Offset": str(uploads.offset_of(row)), "Upload-Length": str(row.size_bytes)}
    return HttpResponse(status=200, headers={**headers, "Cache-Control": "no-store"})


@door.patch("/runs/{run}/uploads/{upload}", needs=Can.RUN_WRITE, response=OffsetOut)
def upload_append(
    request: DoorRequest,
    run: str,
    upload: str,
    offset: Annotated[int | None, Header(alias="Upload-Offset", ge=0)] = None,
) -> object:
    """Append the body at Upload-Offset, which is where the upload stands; 409 upload.offset tells where that is."""
    row = _found(request, run, upload)
    if offset is None:
        raise Invalid("Say where the body belongs.", fields={"Upload-Offset": "Send this header."})
    return {"offset": uploads.upload_append(upload=row, offset=offset, chunks=body_of(request))}


@door.put("/runs/{run}/uploads/{upload}/parts/{number}", needs=Can.RUN_WRITE, response=PartOut)
def upload_part(request: DoorRequest, run: str, upload: str, number: int) -> object:
    """Store one part whole; parts may come in any order and at once, and again."""
    row = _found(request, run, upload)
    return {"number": number, "size_bytes": uploads.upload_part(upload=row, number=number, chunks=body_of(request))}


@door.post("/runs/{run}/uploads/{upload}/complete", needs=Can.RUN_WRITE, response=ArtifactOut)
def upload_complete(request: DoorRequest, run: str, upload: str) -> object:
    """Check size and hash and publish the file; completing again gives the same answer."""
    return uploads.upload_complete(upload=_found(request, run, upload))


@door.delete("/runs/{run}/uploads/{upload}", needs=Can.RUN_WRITE, response={204: None})
def upload_abort(request: DoorRequest, run: str, upload: str) -> object:
    """Forget an upload."""
    row = _found(request, run, upload)
    with tenant_tx(row.tenant_id):
        uploads.upload_abort(upload=row)
    return Status(204, None)
