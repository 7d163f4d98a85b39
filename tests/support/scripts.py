"""Scripts in processes of their own, and what became of what they logged."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from stillroom_client.start import Synced, sync_all
from support.cast import PROJECT, Cast

ROOT = Path(__file__).resolve().parents[2]
PROLOGUE = "import os, signal, sys, stillroom_client as stillroom\n"


@dataclass(frozen=True)
class Bench:
    """What a test needs to run scripts and to look at what became of them."""

    cast: Cast
    folder: Path
    env: dict[str, str]
    project: str = f"aster/{PROJECT}"

    def script(self, body: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        return subprocess.run(
            [sys.executable, "-c", PROLOGUE + dedent(body)],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
        )

    def killed(self, body: str, number: int = signal.SIGKILL, **env: str) -> str:
        """Run a script that prints a line when it is to be killed; its output."""
        child = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + dedent(body)],
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        assert child.stdout is not None
        line = child.stdout.readline()
        child.send_signal(number)
        rest, _ = child.communicate(timeout=60)
        assert child.returncode != 0
        return line + rest

    def sync(self) -> list[Synced]:
        return list(sync_all(self.folder))

    def runs(self) -> list[dict[str, Any]]:
        """Runs of the project, newest first."""
        items: list[dict[str, Any]] = self.cast.mel.http.get(f"/orgs/aster/projects/{PROJECT}/runs").body["items"]
        return items

    def points(self, run: str, key: str) -> list[tuple[float, float]]:
        found = self.cast.mel.http.post("/series/query", {"runs": [run], "keys": [key], "max_points": 20000}).body
        return (
            [] if not found["series"] else list(zip(found["series"][0]["x"], found["series"][0]["value"], strict=True))
        )

    def log(self, run: str) -> list[str]:
        return [line["message"] for line in self.cast.mel.http.get(f"/runs/{run}/logs").body["items"]]
