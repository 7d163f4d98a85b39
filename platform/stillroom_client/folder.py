"""The folder of one logged run: what is still to be sent, kept so that a crash at any moment loses nothing in it.

`run.json` (written whole or not at all), numbered batches in `batches/`, copies of artifacts in `files/` with their
journal, and a lock that its process holds and a dead process cannot.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from stillroom_client.errors import StillroomError
from stillroom_client.spool import Spool

FOLDER_VARIABLE = "STILLROOM_DIR"
LIMIT_BYTES = 2 * 1024**3
VERSION = 1


class FolderBusy(StillroomError):
    """Another process is writing this run, or sending it."""


class FolderBroken(StillroomError):
    """The folder is not one that this version can read."""


@dataclass(frozen=True)
class Upload:
    """One artifact that is still to be sent: its name in the run and the copy on disk."""

    path: str
    file: Path


def runs_root() -> Path:
    """Where runs wait for the platform: STILLROOM_DIR, else the user's state folder."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "stillroom" / "runs"


class RunFolder:
    """An open run folder; `state` is `run.json`. Safe to share between threads. Raises FolderBusy, FolderBroken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._hold = _hold(path)
        try:
            self.state: dict[str, Any] = _read(path)
            self.spool = Spool(path / "batches", limit_bytes=LIMIT_BYTES)
            self._uploaded: set[str] = set(_entries(path / "uploaded.jsonl"))
        except BaseException:
            os.close(self._hold)
            raise

    @classmethod
    def create(cls, root: Path, state: Mapping[str, Any]) -> RunFolder:
        """A fresh folder below `root` with a unique key in it."""
        uid = uuid.uuid4().hex
        path = root / uid
        path.mkdir(mode=0o700, parents=True)
        _write(path, {"version": VERSION, "uid": uid, "run": None, "epoch": 1, "offset": 0, "closing": None, **state})
        return cls(path)

    @property
    def uid(self) -> str:
        return str(self.state["uid"])

    def update(self, **changes: Any) -> None:
        """Change the state on disk, then in memory."""
        with self._lock:
            state = {**self.state, **changes}
            _write(self.path, state)
            self.state = state

    def add_artifact(self, path: str, source: Path) -> None:
        """Copy a file into the folder; from then on it will be sent, whatever becomes of the original."""
        files = self.path / "files"
        files.mkdir(exist_ok=True)
        copy = files / uuid.uuid4().hex
        shutil.copyfile(source, copy)
        with self._lock:
            _append(self.path / "artifacts.jsonl", {"path": path, "file": copy.name})

    def waiting_artifacts(self) -> list[Upload]:
        """Artifacts not sent yet, oldest first."""
        with self._lock:
            entries = _entries(self.path / "artifacts.jsonl")
            return [
                Upload(one["path"], self.path / "files" / one["file"])
                for one in entries
                if one["file"] not in self._uploaded
            ]

    def artifact_sent(self, upload: Upload) -> None:
        """The platform has it: forget the copy."""
        with self._lock:
            _append(self.path / "uploaded.jsonl", upload.file.name)
            self._uploaded.add(upload.file.name)
        upload.file.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go; what is in it stays."""
        self.spool.close()
        os.close(self._hold)

    def destroy(self) -> None:
        """Everything has been sent: delete."""
        self.spool.close()
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._hold)


def folders(root: Path) -> Iterator[Path]:
    """The run folders below `root`, oldest first."""
    found = [path for path in root.iterdir() if (path / "run.json").is_file()] if root.is_dir() else []
    return iter(sorted(found, key=lambda path: (path.stat().st_ctime, path.name)))


def artifact_name(name: str) -> str:
    """A relative path without `..`. Raises ValueError naming it."""
    path = PurePosixPath(name.replace(os.sep, "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{name!r}: an artifact's name is a relative path without '..'.")
    return str(path)


def peek(path: Path) -> Optional[dict[str, Any]]:
    """The state of a folder without opening it; None when it cannot be read."""
    try:
        return _read(path)
    except FolderBroken:
        return None


def _hold(path: Path) -> int:
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderBroken(f"{path}: {error.strerror or error}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise FolderBusy(f"{path}: a process is still writing this run.") from None
    return descriptor


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads((path / "run.json").read_text())
        if not isinstance(state, dict) or state.get("version") != VERSION or not isinstance(state.get("uid"), str):
            raise ValueError(f"expected version {VERSION}")
        return state
    except (OSError, ValueError) as error:
        raise FolderBroken(f"{path / 'run.json'} cannot be read: {error}.") from None


def _write(path: Path, state: Mapping[str, Any]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path, prefix=".run-")
    try:
        with os.fdopen(descriptor, "w") as out:
            json.dump(state, out)
        os.replace(temporary, path / "run.json")
    except BaseException:
        os.unlink(temporary)
        raise


def _append(path: Path, entry: Any) -> None:
    """One line in one write. It begins with a line break too, so that a torn line before it stays alone."""
    with path.open("ab") as out:
        out.write(b"\n" + json.dumps(entry).encode() + b"\n")


def _entries(path: Path) -> list[Any]:
    """Every whole line; a torn one was never promised."""
    found = []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
