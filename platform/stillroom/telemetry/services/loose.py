"""Files without an attempt's number: of a script's run, also after its end, and of things that are no run."""

from __future__ import annotations

from stillroom.core.errors import NotFound
from stillroom.core.tenancy import current_tenant
from stillroom.runs.models import RunFence
from stillroom.telemetry.models import ArtifactFile, Blob, OwnedFile
from stillroom.telemetry.services.artifacts import artifact_link
from stillroom.telemetry.store import StoreAway


def file_publish(*, run_id: str, path: str, sha256: str, size_bytes: int) -> ArtifactFile:
    """Make stored content a file of the run's newest attempt; repeating it changes nothing. Raises NotFound,
    StoreAway.
    """
    fence = RunFence.objects.select_for_update().filter(run_id=run_id).first()
    if fence is None:
        raise NotFound("This run")
    return artifact_link(run_id=run_id, epoch=fence.epoch, path=path, sha256=sha256, size_bytes=size_bytes)


def files_remove(*, run_id: str, path: str) -> int:
    """Take a file, or every file below a folder ("" is all), from the run; how many. The sweep frees the content."""
    rows = ArtifactFile.objects.filter(run_id=run_id)
    if path:
        rows = rows.filter(path=path) | rows.filter(path__startswith=f"{path}/")
    removed, _ = rows.delete()
    return removed


def owned_publish(*, owner: str, path: str, sha256: str, size_bytes: int) -> None:
    """Make stored content a file of something that is no run; repeating it changes nothing. Raises StoreAway."""
    if not Blob.objects.filter(sha256=sha256).update(reserved_until=None):
        raise StoreAway("The content was removed before its file was published. Send it again.")
    OwnedFile.objects.update_or_create(
        tenant_id=current_tenant(), owner=owner, path=path, defaults={"sha256": sha256, "size_bytes": size_bytes}
    )


def owned_remove(*, owner: str, path: str) -> int:
    """The same for a file or folder of an owner."""
    rows = OwnedFile.objects.filter(owner=owner)
    if path:
        rows = rows.filter(path=path) | rows.filter(path__startswith=f"{path}/")
    removed, _ = rows.delete()
    return removed
