"""`python -m workers` as a process: refusals with reasons, one agent per folder, a quiet end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stillroom_client.faulty_server import Answer, Asked, FaultyServer, refuse, reply, serving

ATTACHED = {"node": "n_1", "queue": "node.x", "heartbeat_s": 1, "lease_s": 60, "grace_s": 1}


def platform(asked: Asked) -> Answer:
    if asked.path.endswith("/attach"):
        return reply(ATTACHED)
    return reply({"items": [], "runs": [], "assigned": [], "draining": False})


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving(otherwise=platform) as running:
        yield running


def agent(server: FaultyServer, home: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "STILLROOM_URL": server.url, "STILLROOM_NODE_TOKEN": "sr_node_1"}
    environment |= {"STILLROOM_HOME": str(home), "STILLROOM_SPARES": "0", "REDIS_URL": ""}
    return subprocess.Popen([sys.executable, "-m", "workers"], env=environment, stderr=subprocess.PIPE, text=True)


def test_it_attaches_beats_and_leaves_on_sigterm(server: FaultyServer, tmp_path: Path) -> None:
    process = agent(server, tmp_path)
    asked = server.wait_for(4, timeout_s=30.0)
    assert [one.path.rpartition("/")[2] for one in asked[:3]] == ["attach", "heartbeat", "runs"]
    assert {one.headers["Authorization"] for one in asked} == {"Bearer sr_node_1"}
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30.0)
    assert process.returncode == 0


def test_a_second_agent_on_the_same_folder_is_refused(server: FaultyServer, tmp_path: Path) -> None:
    first = agent(server, tmp_path)
    server.wait_for(2, timeout_s=30.0)
    second = agent(server, tmp_path)
    _, errors = second.communicate(timeout=30.0)
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert "STILLROOM_NODE_NAME" in errors


def test_a_token_that_the_platform_does_not_know_ends_it(server: FaultyServer, tmp_path: Path) -> None:
    server.answers = [refuse(401, "auth.required")]
    process = agent(server, tmp_path)
    _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 1
    assert "auth.required" in errors


def test_an_agent_that_was_replaced_leaves(server: FaultyServer, tmp_path: Path) -> None:
    server.answers = [reply(ATTACHED), refuse(409, "node.replaced")]
    process = agent(server, tmp_path)
    _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 0
    assert "another agent" in errors


def test_a_platform_that_is_not_there_yet_is_waited_for(server: FaultyServer, tmp_path: Path) -> None:
    server.answers = [reply({"code": "starting"}, 503), Answer(404, b"<html>starting</html>")]
    process = agent(server, tmp_path)
    asked = server.wait_for(4, timeout_s=30.0)
    assert [one.path.rpartition("/")[2] for one in asked[:4]] == ["attach", "attach", "attach", "heartbeat"]
    process.terminate()
    process.communicate(timeout=30.0)
    assert process.returncode == 0
