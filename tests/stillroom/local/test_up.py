"""`manage.py up`, `status` and `down` with the real platform: start, start again, killed, in the way, stopped."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillroom.config.env import REPOSITORY
from stillroom.local.home import Home
from stillroom.local.ports import free_port
from stillroom.local.privileges import service_account
from stillroom.local.processes import wait_until
from stillroom.local.services import temporary_root
from stillroom.local.table import answers

DEADLINE_S = 60.0
NOT_RUNNING = 3

pytestmark = pytest.mark.xdist_group("up")


class Installed:
    """The commands, on a home of their own."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.port = free_port()
        ours = ("DATABASE_", "REDIS_URL", "STILLROOM_")  # of the test session's own servers
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.env |= {"STILLROOM_HOME": str(folder), "STILLROOM_PORT": str(self.port), "STILLROOM_NO_NODE": "1"}

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(REPOSITORY / "manage.py"), *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S * 3,
            check=False,
        )

    def up(self) -> str:
        done = self.manage("up", "--detach", "--no-demo")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        done = self.manage("status", "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if found["running"] else NOT_RUNNING)
        return found

    def answers(self) -> bool:
        return answers(int(self.home.read_state().url.rpartition(":")[2]), "/readyz")


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    with tempfile.TemporaryDirectory(prefix="stillroom-up-", dir=temporary_root(service_account())) as name:
        platform = Installed(Path(name) / "home")
        yield platform
        platform.manage("down")


@pytest.fixture
def running(installed: Installed) -> Installed:
    if not installed.home.is_held():
        installed.up()
    return installed


def test_up_says_where_it_is_ready(running: Installed) -> None:
    found = running.status()
    assert found["phase"] == "ready"
    assert found["url"] == f"http://127.0.0.1:{running.port}"
    states = {process["name"]: process["state"] for process in found["processes"]}
    assert {states[name] for name in ("postgres", "valkey", "web", "scheduler")} == {"ready"}
    assert running.answers()


def test_a_second_up_prints_the_address_and_changes_nothing(running: Installed) -> None:
    before = running.status()["processes"]
    assert f"already running at http://127.0.0.1:{running.port}" in running.up()
    assert [row["pid"] for row in running.status()["processes"]] == [row["pid"] for row in before]


def test_what_it_writes_is_private(running: Installed) -> None:
    files = [path for path in running.home.folder.iterdir() if path.is_file()] + list(running.home.logs.iterdir())
    assert {path.name for path in files} >= {"secrets.json", "state.json", "web.log"}
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files} == {0}


def test_only_provisioning_sees_the_owner_of_the_database(running: Installed) -> None:
    environments = {
        row["name"]: Path(f"/proc/{row['pid']}/environ").read_bytes()
        for row in running.home.read_state().processes
        if row["name"] in ("web", "scheduler")
    }
    assert len(environments) == 2
    assert not any(b"\0DATABASE_URL=" in b"\0" + environ for environ in environments.values())
    assert all(b"\0DATABASE_APP_URL=" in environ for environ in environments.values())


def test_a_killed_database_comes_back(running: Installed) -> None:
    def postgres() -> dict[str, Any]:
        return next(row for row in running.home.read_state().processes if row["name"] == "postgres")

    restarts = postgres()["restarts"]
    os.kill(postgres()["pid"], signal.SIGKILL)
    assert wait_until(lambda: postgres()["state"] == "ready" and postgres()["restarts"] > restarts, DEADLINE_S)
    assert wait_until(running.answers, DEADLINE_S)


def test_up_takes_over_after_a_kill(running: Installed) -> None:
    recorded = running.home.read_state()
    supervisor = recorded.supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert wait_until(lambda: not supervisor.alive(), DEADLINE_S)
    assert not running.status()["running"]
    running.up()
    assert running.answers()
    assert not any(identity.alive() for identity in recorded.identities)


def test_down_stops_everything_and_a_busy_port_is_passed_over(running: Installed) -> None:
    recorded = running.home.read_state()
    assert "Stopped" in running.manage("down").stdout
    assert not any(identity.alive() for identity in recorded.identities)
    assert "Nothing is running" in running.manage("down").stdout
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", running.port))
        taken.listen(1)
        said = running.up()
        assert f"Port {running.port} is in use" in said
        assert running.home.read_state().url != f"http://127.0.0.1:{running.port}"
        assert running.answers()
