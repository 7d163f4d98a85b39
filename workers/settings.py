"""The agent's settings, all from the environment. A malformed value stops the start with its name."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(Exception):
    """A variable is missing or malformed; the message names it and says what was expected."""


@dataclass(frozen=True)
class Settings:
    """url, token: of the platform and of this node. redis_url: None means that the node only polls.

    home: where this node keeps its state. cpu_slots: None lets the node decide. spares: interpreters kept warm.
    memory_bytes: private memory a run may have, None for no limit. run_user: (uid, gid) that runs become.
    """

    url: str
    token: str
    redis_url: str | None
    home: Path
    node_name: str
    cpu_slots: int | None
    spares: int
    memory_bytes: int | None
    run_user: tuple[int, int] | None

    @property
    def node_home(self) -> Path:
        return self.home / f"node-{self.node_name}"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError."""
    url = environ.get("STILLROOM_URL", "").strip().rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise SettingsError("STILLROOM_URL must be the platform's address, https://stillroom.example.")
    name = environ.get("STILLROOM_NODE_NAME", "").strip() or socket.gethostname()
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise SettingsError(f"STILLROOM_NODE_NAME must be 1 to 64 letters, digits, dots, dashes; not {name!r}.")
    return Settings(
        url=url,
        token=_token(environ),
        redis_url=environ.get("REDIS_URL", "").strip() or None,
        home=Path(environ.get("STILLROOM_HOME", "").strip() or Path.home() / ".stillroom").expanduser().absolute(),
        node_name=name,
        cpu_slots=_whole(environ, "STILLROOM_NODE_SLOTS"),
        spares=_or(_whole(environ, "STILLROOM_SPARES"), 1),
        memory_bytes=_whole(environ, "STILLROOM_RUN_MEMORY_BYTES") or None,
        run_user=_user(environ),
    )


def _token(environ: Mapping[str, str]) -> str:
    file = environ.get("STILLROOM_NODE_TOKEN_FILE", "").strip()
    token = environ.get("STILLROOM_NODE_TOKEN", "").strip()
    if not token and file:
        try:
            token = Path(file).read_text().strip()
        except OSError as error:
            raise SettingsError(f"STILLROOM_NODE_TOKEN_FILE: {file} cannot be read: {error.strerror}.") from None
    if not token:
        raise SettingsError(
            "STILLROOM_NODE_TOKEN or STILLROOM_NODE_TOKEN_FILE must give this node's token, sr_node_..."
        )
    return token


def _whole(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal():
        raise SettingsError(f"{name} must be a whole number, not {text!r}.")
    return int(text)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _user(environ: Mapping[str, str]) -> tuple[int, int] | None:
    name = environ.get("STILLROOM_RUN_USER", "").strip()
    if not name:
        return None
    if os.geteuid() != 0:
        raise SettingsError("STILLROOM_RUN_USER works only when the agent runs as root.")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise SettingsError(f"STILLROOM_RUN_USER: there is no user {name!r} on this node.") from None
    return entry.pw_uid, entry.pw_gid
