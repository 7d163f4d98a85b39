"""Real processes in short tables, run by a supervisor in a process of its own so that it can be killed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stillroom.local.home import Home
from stillroom.local.processes import Identity, wait_until

TABLES = Path(__file__).with_name("supervised.py")
DEADLINE_S = 20.0


@dataclass
class Supervised:
    """A supervisor running one of the tables of `supervised.py`."""

    home: Home
    process: subprocess.Popen[bytes]

    def wait_for(self, phase: str) -> None:
        assert wait_until(lambda: self.home.read_state().phase == phase, DEADLINE_S), self.said()

    def row(self, name: str) -> dict[str, Any]:
        """What is recorded of one row."""
        return next(row for row in self.home.read_state().processes if row["name"] == name)

    def identity(self, name: str) -> Identity:
        found = self.home.read_state().identity_of(self.row(name))
        assert found is not None
        return found

    def said(self) -> str:
        text: str = (self.home.folder / "output").read_text()
        return text

    def events(self) -> list[str]:
        path = self.home.folder / "events"
        return path.read_text().splitlines() if path.exists() else []

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)


class Starter:
    """Starts supervisors on one home."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.home.make()
        self.started: list[Supervised] = []

    def __call__(self, table: str) -> Supervised:
        with (self.home.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, str(TABLES), str(self.home.folder), table],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(Supervised(self.home, process))
        return self.started[-1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Call it with the name of a table."""
    starter = Starter(tmp_path / "home")
    yield starter
    for supervised in starter.started:
        if supervised.process.poll() is None:
            supervised.end()
