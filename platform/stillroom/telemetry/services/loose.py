"""Files of a script's run without an attempt's number: written at the current epoch, also after the run's end."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from stillroom.core.errors import NotFound
from stillroom.core.tenancy import current_tenant
from stillroom.runs.models import RunFence
from stillroom.telemetry.models import ArtifactFile
from stillroom.telemetry.services.artifacts import TYPES


def media_type(path: str) -> str:
    """A file's type by its name."""
    return TYPES.get(Path(path).suffix.lower()) or mimetypes.guess_type(path)[0] or "application/octet-stream"


def file_publish(*, run_id: str, path: str, sha256: str, size_bytes: int) -> ArtifactFile:
    """Make stored content a file of the run; repeating it changes nothing. Raises NotFound."""
    fence = RunFence.objects.select_for_update().filter(run_id=run_id).first()
    if fence is None:
        raise NotFound("This run")
    row, _ = ArtifactFile.objects.update_or_create(
        tenant_id=current_tenant(), run_id=run_id, epoch=fence.epoch, path=path,
        defaults={"sha256": sha256, "size_bytes": size_bytes, "media_type": media_type(path)},
    )  # fmt: skip
    return row


def files_remove(*, run_id: str, path: str) -> int:
    """Take a file, or every file below a folder ("" is all), from the run; how many. The content stays in the store."""
    rows = ArtifactFile.objects.filter(run_id=run_id)
    if path:
        rows = rows.filter(path=path) | rows.filter(path__startswith=f"{path}/")
    removed, _ = rows.delete()
    return removed
