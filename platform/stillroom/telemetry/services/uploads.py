"""Uploads in pieces: appended at an offset that survives crashes, or in parallel parts, then published at once.

How far an upload has come is the size of its files. Nothing is believed that was not flushed to disk, and the hash is
taken over what is on disk when the upload is completed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stillroom.core.errors import Conflict, Invalid, NotFound, TooLarge
from stillroom.core.tenancy import current_tenant, tenant_tx
from stillroom.runs.models import RunFence
from stillroom.telemetry.models import ArtifactFile, Upload
from stillroom.telemetry.services.artifacts import (
    artifact_publish,
    blob_put,
    hash_check,
    path_check,
    room_check,
    same_hash,
    size_check,
)
from stillroom.telemetry.store import CHUNK, StorageFull, incoming

MAX_PARTS = 10_000
WHOLE = "data"
PART = re.compile(r"\Apart-(\d{5})\Z")


def upload_create(*, run_id: str, epoch: int, path: str, size_bytes: int, sha256: str | None) -> Upload:
    """Begin an upload of a known size into the open attempt of a run of the open tenant.

    Raises Invalid, Conflict when the attempt is over, TooLarge beyond a limit.
    """
    path_check(path)
    hash_check(sha256)
    size_check(size_bytes)
    fence = RunFence.objects.filter(run_id=run_id).first()
    if fence is None:
        raise NotFound("This run")
    if fence.epoch != epoch or not fence.open:
        raise Conflict("This attempt is over.", code="ingest.stale_epoch", epoch=fence.epoch)
    room_check(sha256, size_bytes)
    return Upload.objects.create(
        tenant_id=current_tenant(), run_id=run_id, epoch=epoch, path=path, size_bytes=size_bytes, sha256=sha256 or ""
    )


def upload_get(*, run_id: str, upload_id: str) -> Upload:
    """An upload of the open tenant; NotFound otherwise. One query."""
    row = Upload.objects.filter(id=upload_id, run_id=run_id).first()
    if row is None:
        raise NotFound("This upload")
    return row


def folder_of(upload: Upload) -> Path:
    """Where the pieces lie."""
    return incoming(upload.tenant_id) / upload.id


def offset_of(upload: Upload) -> int:
    """Bytes appended so far; the whole size once it is complete."""
    if upload.done:
        return upload.size_bytes
    try:
        return (folder_of(upload) / WHOLE).stat().st_size
    except FileNotFoundError:
        return 0


def parts_of(upload: Upload) -> dict[int, int]:
    """Size of each part that has arrived, by number."""
    folder = folder_of(upload)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return {int(found.group(1)): (folder / found.group(0)).stat().st_size for found in map(PART.match, names) if found}


def upload_append(*, upload: Upload, offset: int, chunks: Iterable[bytes]) -> int:
    """Append at `offset`; returns the new one. Raises Conflict with the true offset, TooLarge past the size.

    What arrives before a broken connection stays; the sender asks for the offset and goes on from there.
    """
    _not_done(upload)
    with _appending(upload) as file:
        at = file.seek(0, os.SEEK_END)
        if at != offset:
            raise Conflict(f"This upload has come to byte {at}. Go on from there.", code="upload.offset", offset=at)
        try:
            for chunk in chunks:
                if at + len(chunk) > upload.size_bytes:
                    raise _past_the_end(upload)
                file.write(chunk)
                at += len(chunk)
        except OSError as error:
            raise StorageFull(f"The artifact could not be stored: {error.strerror}.") from error
        finally:
            file.flush()
            os.fsync(file.fileno())
    return at


def upload_part(*, upload: Upload, number: int, chunks: Iterable[bytes]) -> int:
    """Store part `number` (1 to 10,000) whole; sending it again replaces it. Returns its size."""
    _not_done(upload)
    if not 1 <= number <= MAX_PARTS:
        raise Invalid("Parts are numbered from 1 to 10000.", fields={"number": "1 to 10000."})
    folder = folder_of(upload)
    folder.mkdir(exist_ok=True)
    size, name = 0, ""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            name = file.name
            for chunk in chunks:
                size += len(chunk)
                if size > upload.size_bytes:
                    raise _past_the_end(upload)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, folder / f"part-{number:05d}")
        name = ""
    except OSError as error:
        raise StorageFull(f"The artifact could not be stored: {error.strerror}.") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
    return size


def upload_complete(*, upload: Upload) -> ArtifactFile:
    """Check size and hash, take the content into the store and publish it. Outside of any tenant's scope.

    Completing again gives the same file. Raises Invalid for a wrong hash, Conflict for missing bytes or parts.
    """
    tenant = upload.tenant_id
    with tenant_tx(tenant):
        row = ArtifactFile.objects.filter(run_id=upload.run_id, epoch=upload.epoch, path=upload.path).first()
        if upload.done and row is not None:
            return row
    file, sha256 = _joined(upload)
    same_hash(sha256, upload.sha256)
    blob_put(tenant_id=tenant, sha256=sha256, size_bytes=upload.size_bytes, file=file)
    with tenant_tx(tenant):
        row = artifact_publish(
            run_id=upload.run_id, epoch=upload.epoch, path=upload.path, sha256=sha256, size_bytes=upload.size_bytes
        )
        Upload.objects.filter(id=upload.id).update(done=True, sha256=sha256)
    shutil.rmtree(folder_of(upload), ignore_errors=True)
    return row


def upload_abort(*, upload: Upload) -> None:
    """Forget an upload and its pieces."""
    Upload.objects.filter(id=upload.id).delete()
    shutil.rmtree(folder_of(upload), ignore_errors=True)


def _joined(upload: Upload) -> tuple[Path, str]:
    """All pieces as one file, and its hash."""
    folder, parts = folder_of(upload), parts_of(upload)
    if parts and sorted(parts) != list(range(1, len(parts) + 1)):
        missing = next(number for number in range(1, MAX_PARTS + 1) if number not in parts)
        raise Conflict(f"Part {missing} is missing.", code="upload.incomplete", missing=missing)
    arrived = sum(parts.values()) if parts else offset_of(upload)
    if arrived != upload.size_bytes:
        message = f"{arrived} of {upload.size_bytes} bytes have arrived."
        raise Conflict(message, code="upload.incomplete", offset=arrived)
    folder.mkdir(exist_ok=True)
    pieces = [folder / f"part-{number:05d}" for number in sorted(parts)] or [folder / WHOLE]
    digest = hashlib.sha256()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as whole:
            for piece in pieces if upload.size_bytes else []:
                with piece.open("rb") as part:
                    while block := part.read(CHUNK):
                        digest.update(block)
                        whole.write(block)
            whole.flush()
            os.fsync(whole.fileno())
    except OSError as error:
        raise StorageFull(f"The artifact could not be stored: {error.strerror}.") from error
    return Path(whole.name), digest.hexdigest()


@contextmanager
def _appending(upload: Upload) -> Iterator[BinaryIO]:
    folder = folder_of(upload)
    folder.mkdir(exist_ok=True)
    with (folder / WHOLE).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("Somebody else is appending to this upload.", code="upload.busy") from None
        yield file


def _not_done(upload: Upload) -> None:
    if upload.done:
        raise Conflict("This upload is complete.", code="upload.done", offset=upload.size_bytes)


def _past_the_end(upload: Upload) -> TooLarge:
    message = f"This upload was announced with {upload.size_bytes} bytes."
    return TooLarge(message, code="upload.too_large", fields={"size_bytes": message}, limit=upload.size_bytes)
