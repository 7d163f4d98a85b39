"""A whole platform for journeys: started by its own command in a folder of its own, spoken to over the wire only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx
import psutil

from stillroom.local.control import status as installation_status
from stillroom.local.home import Home
from stillroom.local.ports import free_port
from stillroom.local.privileges import service_account
from stillroom.local.services import temporary_root

ROOT = Path(__file__).resolve().parents[2]
Found = TypeVar("Found")

PATIENCE_S = 240.0
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "LOST")
# Short leases, so that what a lost attempt leads to is seen within seconds.
PACE = {"STILLROOM_LEASE_S": "20", "STILLROOM_HEARTBEAT_S": "2", "STILLROOM_GRACE_S": "10"}


def until(look: Callable[[], Found], *, what: str, patience_s: float = PATIENCE_S) -> Found:
    """Look again until something true comes; AssertionError after the patience ends."""
    deadline = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {patience_s:.0f} s for {what}"
        time.sleep(0.1)


@dataclass
class Platform:
    """A running installation, its demo user and a token of theirs."""

    home: Path
    env: dict[str, str]
    url: str = ""
    email: str = ""
    password: str = ""
    token: str = ""
    org: str = "demo"
    project: str = "journeys"

    def manage(self, *arguments: str) -> str:
        """Run one management command; its standard output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, dict[str, Any]]:
        """Each process of the installation by name."""
        return {row["name"]: row for row in installation_status(Home(self.home))["processes"]}

    def pid(self, name: str) -> int:
        """The process id of a named process."""
        return int(self.status()[name]["pid"])

    def kill(self, name: str) -> None:
        """SIGKILL a named process of this installation and wait until another one is ready in its place."""
        old = self.pid(name)
        psutil.Process(old).kill()
        until(
            lambda: (row := self.status()[name])["state"] == "ready" and row["pid"] not in (None, old),
            what=f"{name} to be started again",
        )

    def api(self, method: str, path: str, payload: Any = None) -> Any:
        """Call the REST API as the demo user; raises on a refusal."""
        answer = httpx.request(
            method,
            f"{self.url}/api/v1{path}",
            json=payload,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
        )
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.content else None

    def put(self, path: str, content: bytes) -> None:
        """Send a file as the demo user; `path` carries the epoch."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.put(f"{self.url}/api/v1{path}", content=content, headers=headers, timeout=30)
        assert answer.status_code < 400, answer.text

    def submit(self, recipe: str, spec: dict[str, Any], **more: Any) -> str:
        """Submit a run; returns its id."""
        payload = {"recipe": recipe, "spec": spec, **more}
        return str(self.api("POST", f"/orgs/{self.org}/projects/{self.project}/runs", payload)["id"])

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api("GET", f"/runs/{run}")
        return found

    def wait(self, run: str, *states: str) -> dict[str, Any]:
        """Wait until the run is in one of the states, or has ended."""
        return until(
            lambda: found if (found := self.run(run))["state"] in (states or ENDED) else None,
            what=f"{run} to be {states or ENDED}",
        )

    def points(self, run: str, key: str) -> list[tuple[float, float | str]]:
        """All points of a series, exactly."""
        query = {"runs": [run], "keys": [key], "max_points": 20_000}
        found = self.api("POST", "/series/query", query)["series"]
        return list(zip(found[0]["x"], found[0]["value"], strict=True)) if found else []

    def kill_training(self) -> None:
        """SIGKILL what executes runs on the local node: every interpreter below the agent, warm spares included."""
        agent = psutil.Process(self.pid("node"))
        cores = [child for child in agent.children(recursive=True) if "models_core" in child.cmdline()]
        assert cores
        for core in cores:
            core.kill()


@contextmanager
def platform() -> Iterator[Platform]:
    """Start an installation with an empty demo organisation, and stop it afterwards."""
    with TemporaryDirectory(prefix="stillroom-journey-", dir=temporary_root(service_account())) as folder:
        home = Path(folder) / "home"
        ours = ("DATABASE_", "REDIS_URL", "STILLROOM_", "DJANGO_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env |= {**PACE, "STILLROOM_HOME": str(home), "STILLROOM_PORT": str(free_port())}
        found = Platform(home, env)
        try:
            found.manage("up", "--detach", "--no-demo")
            found.url = json.loads(found.manage("status", "--json"))["url"]
            sign_in = json.loads(found.manage("demo", "--json", "--empty"))
            found.email, found.password = sign_in["email"], sign_in["password"]
            found.token = found.manage("token", "--user", found.email, "--org", "demo", "--scope", "admin").strip()
            found.api("POST", "/orgs/demo/projects", {"slug": found.project, "name": "Journeys"})
            yield found
        finally:
            found.manage("down")
