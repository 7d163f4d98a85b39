"""Artifacts: streamed to a content-addressed store, hashed on the way, published by one row.

A person's file name is only a label in the database; content is named by its hash (see `telemetry.store`). A `Blob` row
is written before the content and outlives it, so that nothing lies in the store that no row knows of.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from stillroom.core.errors import Conflict, Invalid, NotFound, TooLarge
from stillroom.core.tenancy import current_tenant, tenant_tx
from stillroom.runs.models import RunFence
from stillroom.telemetry.models import ArtifactFile, Blob
from stillroom.telemetry.store import FolderStore, StorageFull, StoreAway, incoming, store

SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
MAX_PATH = 500
RESERVED_FOR = timedelta(hours=6)
TYPES = {".safetensors": "application/octet-stream", ".jsonl": "application/x-ndjson", ".md": "text/markdown"}


def path_check(path: str) -> str:
    """A relative path with forward slashes and no way out; raises Invalid."""
    parts = path.split("/")
    bad = len(path) > MAX_PATH or any(part in ("", ".", "..") for part in parts)
    if bad or "\\" in path or any(ord(character) < 32 or ord(character) == 127 for character in path):
        message = f"An artifact's path is relative, has no '..' and at most {MAX_PATH} characters."
        raise Invalid(message, fields={"path": message})
    return path


def hash_check(sha256: str | None) -> None:
    """Raises Invalid unless it is a hash or None."""
    if sha256 is not None and not SHA256.match(sha256):
        raise Invalid("sha256 has 64 lower-case hex digits.", fields={"sha256": "64 lower-case hex digits."})


def size_check(size_bytes: int) -> None:
    """Raises TooLarge beyond the largest single artifact."""
    limit = settings.ENV.max_artifact_bytes
    if size_bytes > limit:
        message = f"An artifact may have at most {limit} bytes."
        raise TooLarge(message, code="artifact.too_large", fields={"size_bytes": message}, limit=limit)


def stored_file(tenant_id: str, sha256: str) -> Path:
    """Where a folder store keeps the content of that hash."""
    return FolderStore(settings.ENV.artifacts).path(tenant_id, sha256)


def artifact_receive(*, tenant_id: str, chunks: Iterable[bytes], sha256: str | None) -> tuple[str, int]:
    """Write a stream into the store; returns hash and size. Outside of any tenant's scope.

    Raises TooLarge (single file, or the organisation's bytes), Invalid on a wrong hash, StorageFull, StoreAway.
    """
    hash_check(sha256)
    digest, size = hashlib.sha256(), 0
    name = ""
    try:
        with tempfile.NamedTemporaryFile(dir=incoming(tenant_id), delete=False) as file:
            name = file.name
            for chunk in chunks:
                size += len(chunk)
                size_check(size)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        found = digest.hexdigest()
        same_hash(found, sha256)
        blob_put(tenant_id=tenant_id, sha256=found, size_bytes=size, file=Path(name))
    except OSError as error:
        raise StorageFull(f"The artifact could not be stored: {error.strerror}.") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
    return found, size


def same_hash(found: str, promised: str | None) -> None:
    """Raises Invalid when content has another hash than its sender said."""
    if promised and found != promised:
        raise Invalid(
            f"The content has sha256 {found}.", fields={"sha256": "Does not match the content."}, code="artifact.hash"
        )


def blob_put(*, tenant_id: str, sha256: str, size_bytes: int, file: Path) -> None:
    """Take a finished file into the store. Raises TooLarge when the organisation's bytes do not allow it."""
    with tenant_tx(tenant_id):
        room_check(sha256, size_bytes)
        until = timezone.now() + RESERVED_FOR
        Blob.objects.bulk_create(
            [Blob(tenant_id=tenant_id, sha256=sha256, size_bytes=size_bytes, reserved_until=until)],
            update_conflicts=True,
            unique_fields=["tenant", "sha256"],
            update_fields=["reserved_until"],
        )
    store().put(tenant_id, sha256, file)


def room_check(sha256: str | None, size_bytes: int) -> None:
    """Raises TooLarge when so many more bytes pass the organisation's limit. Serialises those who ask. Two queries."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('blobs:' || %s, 0))", [current_tenant()])
    if sha256 is not None and Blob.objects.filter(sha256=sha256).exists():
        return
    used, limit = bytes_used(), settings.ENV.org_artifact_bytes
    if used + size_bytes > limit:
        message = (
            f"The organisation keeps {used} of at most {limit} bytes; {size_bytes} more do not fit. Delete something."
        )
        raise TooLarge(message, code="artifact.quota", fields={"size_bytes": message}, limit=limit, used=used)


def bytes_used() -> int:
    """Bytes of the open tenant's artifacts, each content once. One query."""
    return int(Blob.objects.aggregate(total=Sum("size_bytes"))["total"] or 0)


def media_type_of(path: str) -> str:
    """By the path's suffix."""
    suffix = Path(path).suffix.lower()
    return TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"


def artifact_publish(*, run_id: str, epoch: int, path: str, sha256: str, size_bytes: int) -> ArtifactFile:
    """Make stored content a file of this attempt. Raises Conflict when the attempt is over, StoreAway when the content
    has been swept away meanwhile; repeating it changes nothing.
    """
    fence = RunFence.objects.select_for_update().filter(run_id=run_id).first()
    if fence is None:
        raise NotFound("This run")
    if fence.epoch != epoch or not fence.open:
        raise Conflict("This attempt is over.", code="ingest.stale_epoch", epoch=fence.epoch)
    return artifact_link(run_id=run_id, epoch=epoch, path=path, sha256=sha256, size_bytes=size_bytes)


def artifact_link(*, run_id: str, epoch: int, path: str, sha256: str, size_bytes: int) -> ArtifactFile:
    """The row that gives stored content a name in a run. Raises StoreAway when the content is not there any more."""
    if not Blob.objects.filter(sha256=sha256).update(reserved_until=None):
        raise StoreAway("The content was removed before its file was published. Send it again.")
    row, _ = ArtifactFile.objects.update_or_create(
        tenant_id=current_tenant(),
        run_id=run_id,
        epoch=epoch,
        path=path,
        defaults={"sha256": sha256, "size_bytes": size_bytes, "media_type": media_type_of(path)},
    )
    return row


def blobs_release(hashes: Iterable[str]) -> int:
    """Remove content that no file of the open tenant names any more; returns the bytes freed.

    The row goes first, under its lock, and the content inside the same transaction: whoever stores the same content now
    waits for the commit and then puts it back.
    """
    unused = (
        "delete from blob b where b.tenant_id = %s and b.sha256 = any(%s) "
        "and (b.reserved_until is null or b.reserved_until < clock_timestamp()) "
        "and not exists (select 1 from artifact a where a.tenant_id = b.tenant_id and a.sha256 = b.sha256) "
        "and not exists (select 1 from owned_file o where o.tenant_id = b.tenant_id and o.sha256 = b.sha256) "
        "returning b.sha256, b.size_bytes"
    )
    tenant = current_tenant()
    with connection.cursor() as cursor:
        cursor.execute(unused, [tenant, sorted(set(hashes))])
        gone = cursor.fetchall()
    for sha256, _ in gone:
        store().remove(tenant, sha256)
    return sum(size_bytes for _, size_bytes in gone)
