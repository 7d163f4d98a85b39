"""Small files that only we may read: written whole or not at all, never world-readable for an instant."""

import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step by a file of mode 600."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Like `write_private`, for a JSON object."""
    write_private(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in `path`; an absent or malformed file is an empty object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Secrets:
    """What this installation made up for itself."""

    secret_key: str
    postgres_password: str
    valkey_password: str

    @classmethod
    def kept_in(cls, home: Path) -> "Secrets":
        """Reads `home`/secrets.json, and makes up and keeps whatever is missing from it."""
        path = home / "secrets.json"
        kept = read_json(path)
        missing = [name for name in cls.__slots__ if not isinstance(kept.get(name), str)]
        if missing:
            kept |= {name: secrets.token_urlsafe(48 if name == "secret_key" else 24) for name in missing}
            write_json(path, kept)
        return cls(**{name: kept[name] for name in cls.__slots__})
