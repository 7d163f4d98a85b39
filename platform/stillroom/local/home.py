"""The folder of one installation: where each file is, what is written into it, and who holds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.local.errors import LocalError
from stillroom.local.processes import Identity
from stillroom.local.state import read_json, write_json


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below STILLROOM_HOME. The folder may be entered but not listed by others, its files not read."""

    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def demo(self) -> Path:
        """Address and password of the demo user, mode 600."""
        return self.folder / "demo.json"

    @property
    def node_token(self) -> Path:
        """The local node's token, mode 600."""
        return self.folder / "node.token"

    @property
    def marks(self) -> Path:
        """What has been done to which database, so that it is not done again."""
        return self.folder / "provisioned.json"

    def make(self) -> None:
        """Creates the folder; the servers' account must be able to pass through it when we are root."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise LocalError(f"{self.folder} cannot be used: {error.strerror}. Set STILLROOM_HOME.") from error

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Holds the folder for this process and its forks; yields False when another process has it.

        The kernel lets go of it when the holder dies, however it dies.
        """
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether a supervisor is at work here."""
        if not (self.folder / "lock").exists():
            return False
        with self.held() as free:
            return not free

    def read_state(self) -> "Recorded":
        """What the last supervisor wrote; empty values when there was none."""
        return Recorded(read_json(self.folder / "state.json"))

    def write_state(self, state: dict[str, Any]) -> None:
        """Replaces the record of the running supervisor."""
        write_json(self.folder / "state.json", state)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A supervisor's own record: `phase` is starting, ready, stopping or stopped."""

    value: dict[str, Any]

    @property
    def phase(self) -> str:
        return str(self.value.get("phase", ""))

    @property
    def url(self) -> str:
        return str(self.value.get("url", ""))

    @property
    def instance(self) -> str:
        return str(self.value.get("instance", ""))

    @property
    def supervisor(self) -> Identity | None:
        return self.identity_of(self.value.get("supervisor"))

    @property
    def processes(self) -> list[dict[str, Any]]:
        rows = self.value.get("processes", [])
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    @property
    def identities(self) -> list[Identity]:
        """The processes that ran when this was written."""
        return [identity for row in self.processes if (identity := self.identity_of(row)) is not None]

    def port(self, name: str) -> int | None:
        """The port a server had, to give it the same one again."""
        ports = self.value.get("ports", {})
        port = ports.get(name) if isinstance(ports, dict) else None
        return port if isinstance(port, int) else None

    @staticmethod
    def identity_of(row: object) -> Identity | None:
        """The process that a record names, which may be gone."""
        if isinstance(row, dict) and isinstance(row.get("pid"), int) and isinstance(row.get("started"), str):
            return Identity(row["pid"], row["started"])
        return None
