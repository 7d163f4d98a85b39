"""Fetches the checkpoint from which an attempt goes on, whole and verified, or says that it is damaged."""

from __future__ import annotations

from pathlib import Path

from stillroom_client.agent import Resume
from stillroom_client.errors import ApiError, ChecksumMismatch
from stillroom_client.points import AttemptApi, is_stale


class CheckpointDamaged(Exception):
    """A file is missing or is not what was written."""


def fetch_checkpoint(api: AttemptApi, resume: Resume, folder: Path) -> Path:
    """Download every file into `folder` and give it back. Raises CheckpointDamaged, ApiError, ConnectionFailed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in resume.files:
        if Path(file.name).name != file.name or file.name in ("", ".", ".."):
            raise CheckpointDamaged(f"{file.name!r} is not a file name.")
        try:
            api.get_artifact(file.path, folder / file.name, sha256=file.sha256, size_bytes=file.size_bytes)
        except ChecksumMismatch as error:
            raise CheckpointDamaged(f"The checkpoint of step {resume.step} is damaged. {error}") from error
        except ApiError as error:
            if error.status in (404, 410, 416) and not is_stale(error):
                raise CheckpointDamaged(
                    f"A file of the checkpoint of step {resume.step} is missing. {error}"
                ) from error
            raise
    return folder
