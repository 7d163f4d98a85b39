"""Artifacts of a run as its reader sees them: each path once, from the newest attempt that wrote it."""

from __future__ import annotations

from stillroom.core.errors import NotFound
from stillroom.telemetry.models import ArtifactFile, OwnedFile


def artifacts(run_id: str) -> list[ArtifactFile]:
    """The run's files in order of path. One query."""
    rows = ArtifactFile.objects.filter(run_id=run_id)
    return list(rows.order_by("path", "-epoch").distinct("path"))


def artifact_get(run_id: str, path: str, sha256: str | None = None) -> ArtifactFile:
    """One file; with a hash, the one with that content. One query."""
    rows = ArtifactFile.objects.filter(run_id=run_id, path=path).order_by("-epoch")
    row = (rows.filter(sha256=sha256) if sha256 else rows).first()
    if row is None:
        raise NotFound("This artifact")
    return row


def owned_files(owner: str) -> list[OwnedFile]:
    """The files of something that is no run, in order of path. One query."""
    return list(OwnedFile.objects.filter(owner=owner).order_by("path"))
