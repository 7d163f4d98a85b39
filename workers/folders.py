"""The folders of one attempt, and what of it survives the agent: the spool, and who may send it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

_STATE = "attempt.json"


@dataclass(frozen=True)
class AttemptState:
    """What another life of the agent needs to send the rest and to say that the attempt is over."""

    run: str
    epoch: int
    token: str


class AttemptFolder:
    """`work` belongs to the run's process; everything else to the agent."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"
        self.spool = root / "spool"
        self.resume = root / "resume"

    @classmethod
    def of(cls, home: Path, run: str, epoch: int) -> AttemptFolder:
        """Raises ValueError when the run's id could not be a file name."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", run):
            raise ValueError(f"{run!r} is no run id")
        return cls(home / "attempts" / f"{run}.{epoch}")

    @classmethod
    def all(cls, home: Path) -> list[AttemptFolder]:
        """Those that earlier lives have left."""
        return [cls(path) for path in sorted((home / "attempts").glob("*.*")) if path.is_dir()]

    def create(self, owner: tuple[int, int] | None) -> None:
        """Make it afresh. owner: (uid, gid) of the run's process when it is not the agent's."""
        self.remove()
        self.root.mkdir(mode=0o711 if owner else 0o700, parents=True)
        for path in (self.work, self.work / "tmp", self.resume):
            path.mkdir(mode=0o700)
            if owner:
                os.chown(path, *owner)

    def hand_over(self, owner: tuple[int, int] | None) -> None:
        """Let the run's process read the checkpoint that has been fetched."""
        if owner:
            for path in self.resume.iterdir():
                os.chown(path, *owner)

    def write_state(self, state: AttemptState) -> None:
        """Keep the token where only the agent can read it."""
        partial = self.root / f".{_STATE}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(asdict(state), out)
        partial.replace(self.root / _STATE)

    def read_state(self) -> AttemptState | None:
        """None when the attempt had not come so far."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            record = json.loads((self.root / _STATE).read_text())
            return AttemptState(str(record["run"]), int(record["epoch"]), str(record["token"]))
        return None

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
