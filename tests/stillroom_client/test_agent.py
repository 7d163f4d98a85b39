"""The node's calls: what is sent, and how answers are read."""

from __future__ import annotations

import json

import pytest

from stillroom_client.agent import AgentApi, Assignment, DeviceInfo, RemoteFile
from stillroom_client.errors import ConnectionFailed
from stillroom_client.transport import Transport
from tests.stillroom_client.faulty_server import RESET, Answer, FaultyServer, reply, serving

CLAIM = {
    "run": "r_1",
    "epoch": 2,
    "org": "demo",
    "project": "first",
    "recipe": "distillation",
    "recipe_version": "1",
    "spec": {"steps": 3},
    "spec_hash": "ab",
    "seed": 5,
    "devices": [{"kind": "cpu", "index": 1}],
    "spread": 2,
    "resume": {
        "step": 40,
        "epoch": 1,
        "files": [{"path": "checkpoints/step-40/a", "name": "a", "size_bytes": 3, "sha256": "cd"}],
    },
    "run_token": "sr_run_1",
    "lease_s": 60,
    "grace_s": 30,
    "time_limit_s": None,
    "something_new": True,
}


def api(server: FaultyServer) -> AgentApi:
    return AgentApi(Transport(server.url, "sr_node_1", sleep=lambda s: None))


def test_attach_says_what_the_node_has() -> None:
    answer = {"node": "n_1", "queue": "node.x", "heartbeat_s": 10, "lease_s": 60, "grace_s": 30}
    with serving(reply(answer)) as server:
        attached = api(server).attach("inc", "host", "0.1", [DeviceInfo("cpu", 0, "EPYC", 1024)])
    assert (attached.queue, attached.heartbeat_s, attached.lease_s, attached.grace_s) == ("node.x", 10.0, 60.0, 30.0)
    assert json.loads(server.asked[0].body)["devices"] == [
        {"kind": "cpu", "index": 0, "name": "EPYC", "memory_bytes": 1024}
    ]


def test_a_claim_is_read_whole_and_unknown_fields_are_ignored() -> None:
    with serving(reply(CLAIM)) as server:
        claim = api(server).claim("r_1", 2, "inc")
    assert claim.devices == (("cpu", 1),)
    assert claim.spread == 2
    assert claim.time_limit_s is None
    assert claim.resume is not None
    assert claim.resume.files == (RemoteFile("checkpoints/step-40/a", "a", 3, "cd"),)
    assert server.asked[0].path == "/api/v1/agent/runs/r_1/claim"


def test_a_claim_without_a_checkpoint_starts_from_nothing() -> None:
    with serving(reply({**CLAIM, "resume": None, "time_limit_s": 90})) as server:
        claim = api(server).claim("r_1", 2, "inc")
    assert claim.resume is None
    assert claim.time_limit_s == 90.0


def test_a_heartbeat_is_tried_once() -> None:
    with serving(RESET, reply({})) as server, pytest.raises(ConnectionFailed):
        api(server).heartbeat("inc", [Assignment("r_1", 2)], timeout_s=1.0)
    assert len(server.asked) == 1


def test_a_heartbeat_tells_of_every_run() -> None:
    answer = {
        "runs": [
            {"run": "r_1", "epoch": 2, "ok": True, "intent": "pause", "run_token": "t"},
            {"run": "r_2", "epoch": 1, "ok": False, "intent": "run", "run_token": None},
        ],
        "assigned": [{"run": "r_3", "epoch": 1}],
        "draining": True,
        "server_time": "2026-01-01T00:00:00Z",
    }
    with serving(reply(answer)) as server:
        pulse = api(server).heartbeat("inc", [], timeout_s=1.0)
    assert [(one.ok, one.intent, one.run_token) for one in pulse.runs] == [(True, "pause", "t"), (False, "run", None)]
    assert pulse.assigned == (Assignment("r_3", 1),)
    assert pulse.draining


def test_finish_carries_everything_and_a_bodiless_answer_is_fine() -> None:
    with serving(reply({"state": "QUEUED"}), Answer(204)) as server:
        client = api(server)
        state = client.finish(
            "r_1", 2, outcome="failed", final_seq=9, exit_code=-9, error={"code": "c", "message": "m"}, retryable=True
        )
        client.checkpoint("r_1", 2, 40, [])
    assert state == "QUEUED"
    assert json.loads(server.asked[0].body) == {
        "epoch": 2,
        "outcome": "failed",
        "final_seq": 9,
        "exit_code": -9,
        "error": {"code": "c", "message": "m"},
        "retryable": True,
    }
