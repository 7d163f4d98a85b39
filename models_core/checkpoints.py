"""Checkpoints as folders: arrays.safetensors, state.json and a manifest with the hash of each; written atomically.

Refuses to load what is truncated, altered, or made by another recipe, spec or seed. Never unpickles anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models_core.errors import CheckpointInvalid
from models_core.events import Checkpoint

FORMAT = 1
KEPT = 2
_ARRAYS, _STATE, _MANIFEST = "arrays.safetensors", "state.json", "manifest.json"
_NAME = re.compile(r"step-(\d{9,})")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a checkpoint must agree with to be continued bit for bit."""

    recipe: str
    version: str
    spec_hash: str
    seed: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on disk; `name` is relative to the folder that holds it."""

    name: str
    size_bytes: int
    sha256: str


def write_file(path: Path, content: bytes) -> StoredFile:
    """Write and fsync one file."""
    with path.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    return StoredFile(path.name, len(content), hashlib.sha256(content).hexdigest())


def save(root: Path, checkpoint: Checkpoint, identity: Identity) -> tuple[Path, list[StoredFile]]:
    """Write `root/step-<step>/` and drop all but the newest two; returns the folder and its files.

    The folder appears by one rename, after everything in it has reached the disk. Checkpoints of a later step, which a
    run resumed from an earlier one has abandoned, are removed.
    """
    # Deferred: the command line must start without an array library.
    from safetensors.numpy import save as to_safetensors

    final = root / f"step-{checkpoint.step:09d}"
    temporary = root / f".{final.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    state = json.dumps(dict(checkpoint.state), sort_keys=True, allow_nan=False).encode()
    files = [
        write_file(temporary / _ARRAYS, to_safetensors(dict(checkpoint.arrays))),
        write_file(temporary / _STATE, state),
    ]
    manifest = {
        "format": FORMAT,
        **asdict(identity),
        "step": checkpoint.step,
        "files": {file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in files},
    }
    files.append(write_file(temporary / _MANIFEST, json.dumps(manifest, sort_keys=True, indent=1).encode()))
    _sync_folder(temporary)
    replaced = root / f".{final.name}.replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    temporary.rename(final)
    _sync_folder(root)
    shutil.rmtree(replaced, ignore_errors=True)
    _prune(root, newest=checkpoint.step)
    return final, files


def load(folder: Path, identity: Identity) -> Checkpoint:
    """Read a checkpoint back; raises CheckpointInvalid when it is damaged or belongs to another run."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_safetensors

    manifest = _manifest(folder)
    for key, expected in asdict(identity).items():
        if manifest.get(key) != expected:
            raise CheckpointInvalid(
                f"The checkpoint {folder.name} belongs to another run: its {key} is {manifest.get(key)!r}, "
                f"this run's is {expected!r}.",
                fields={key: "Differs from the checkpoint's."},
            )
    contents = {name: _verified(folder, manifest, name) for name in (_ARRAYS, _STATE)}
    try:
        return Checkpoint(
            step=int(manifest["step"]),
            arrays=from_safetensors(contents[_ARRAYS]),
            state=json.loads(contents[_STATE]),
        )
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointInvalid(f"The checkpoint {folder.name} cannot be decoded: {error}") from None


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except FileNotFoundError:
        raise CheckpointInvalid(f"{folder} is not a checkpoint: it has no {_MANIFEST}.") from None
    except (OSError, ValueError) as error:
        raise CheckpointInvalid(f"The manifest of {folder.name} cannot be read: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointInvalid(f"The checkpoint {folder.name} is not of format {FORMAT}, the only one known here.")
    return manifest


def _verified(folder: Path, manifest: dict[str, Any], name: str) -> bytes:
    files = manifest.get("files")
    listed = files.get(name) if isinstance(files, dict) else None
    if not isinstance(listed, dict):
        raise CheckpointInvalid(f"The manifest of {folder.name} does not list {name}.")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise CheckpointInvalid(f"{name} of {folder.name} cannot be read: {error}") from None
    if len(content) != listed.get("size_bytes") or hashlib.sha256(content).hexdigest() != listed.get("sha256"):
        raise CheckpointInvalid(f"{name} of {folder.name} is not what was written: size or sha256 differs.")
    return content


def _prune(root: Path, newest: int) -> None:
    steps = {int(match[1]): path for path in root.iterdir() if (match := _NAME.fullmatch(path.name))}
    kept = sorted(step for step in steps if step <= newest)[-KEPT:]
    for step, path in steps.items():
        if step not in kept:
            shutil.rmtree(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
