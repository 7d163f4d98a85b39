"""Artifacts: streamed to a content-addressed store, hashed on the way, published by one row.

A person's file name is only a label in the database; the file on disk is `<tenant>/<two hex digits>/<sha256>`.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings

from stillroom.core.errors import Conflict, Invalid, NotFound, StillroomError, TooLarge
from stillroom.core.tenancy import current_tenant
from stillroom.runs.models import RunFence
from stillroom.telemetry.models import ArtifactFile

SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
MAX_PATH = 500
TYPES = {".safetensors": "application/octet-stream", ".jsonl": "application/x-ndjson", ".md": "text/markdown"}


class StorageFull(StillroomError):
    """The disk behind the store is full."""

    code = "artifact.storage_full"
    status = 507


def path_check(path: str) -> str:
    """A relative path with forward slashes and no way out; raises Invalid."""
    parts = path.split("/")
    bad = len(path) > MAX_PATH or any(part in ("", ".", "..") for part in parts)
    if bad or "\\" in path or any(ord(character) < 32 or ord(character) == 127 for character in path):
        message = f"An artifact's path is relative, has no '..' and at most {MAX_PATH} characters."
        raise Invalid(message, fields={"path": message})
    return path


def stored_file(tenant_id: str, sha256: str) -> Path:
    """Where the content of that hash lies."""
    return settings.ENV.artifacts / tenant_id / sha256[:2] / sha256


def artifact_receive(*, tenant_id: str, chunks: Iterable[bytes], sha256: str | None) -> tuple[str, int]:
    """Write a stream into the store; returns hash and size. Raises TooLarge, Invalid on a wrong hash, StorageFull.
    No query.
    """
    if sha256 is not None and not SHA256.match(sha256):
        raise Invalid("sha256 has 64 lower-case hex digits.", fields={"sha256": "64 lower-case hex digits."})
    folder = settings.ENV.artifacts / tenant_id / "incoming"
    digest, size = hashlib.sha256(), 0
    name = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            name = file.name
            for chunk in chunks:
                size += len(chunk)
                if size > settings.ENV.max_artifact_bytes:
                    raise TooLarge(
                        f"An artifact may have at most {settings.ENV.max_artifact_bytes} bytes.",
                        code="artifact.too_large",
                    )
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        found = digest.hexdigest()
        if sha256 is not None and found != sha256:
            raise Invalid(
                f"The content has sha256 {found}.",
                fields={"sha256": "Does not match the content."},
                code="artifact.hash",
            )
        target = stored_file(tenant_id, found)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(name, target)
        name = ""
    except OSError as error:
        raise StorageFull(f"The artifact could not be stored: {error.strerror}.") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
    return found, size


def artifact_publish(*, run_id: str, epoch: int, path: str, sha256: str, size_bytes: int) -> ArtifactFile:
    """Make stored content a file of this attempt. Raises Conflict when the attempt is over; repeating it changes
    nothing.
    """
    fence = RunFence.objects.select_for_update().filter(run_id=run_id).first()
    if fence is None:
        raise NotFound("This run")
    if fence.epoch != epoch or not fence.open:
        raise Conflict("This attempt is over.", code="ingest.stale_epoch", epoch=fence.epoch)
    suffix = Path(path).suffix.lower()
    media_type = TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
    row, _ = ArtifactFile.objects.update_or_create(
        tenant_id=current_tenant(),
        run_id=run_id,
        epoch=epoch,
        path=path,
        defaults={"sha256": sha256, "size_bytes": size_bytes, "media_type": media_type},
    )
    return row
