"""The API for scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest

from stillroom_client import ApiError, Client, WaitTimeout
from stillroom_client.transport import Transport
from tests.stillroom_client.faulty_server import RESET, FaultyServer, refuse, reply, serving


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving() as running:
        yield running


def client(server: FaultyServer) -> Client:
    return Client(transport=Transport(server.url, "sr_api_1", sleep=lambda s: None))


def test_a_repeated_submit_carries_the_same_idempotency_key(server: FaultyServer) -> None:
    server.answers = [RESET, reply({"id": "r_1"}, 201), reply({"id": "r_2"}, 201)]
    submitting = client(server)
    assert submitting.submit("demo/first", "distillation", {"steps": 3}, seed=7, name="n")["id"] == "r_1"
    submitting.submit("demo/first", "distillation")
    keys = [one.headers["Idempotency-Key"] for one in server.asked]
    assert keys[0] == keys[1] != keys[2]
    assert server.asked[1].path == "/api/v1/orgs/demo/projects/first/runs"
    assert json.loads(server.asked[1].body) == {"recipe": "distillation", "spec": {"steps": 3}, "seed": 7, "name": "n"}


def test_a_refused_spec_names_its_fields(server: FaultyServer) -> None:
    server.answers = [refuse(422, "spec.invalid", fields={"spec.steps": "At least 1."})]
    with pytest.raises(ApiError) as caught:
        client(server).submit("demo/first", "distillation", {"steps": 0})
    assert caught.value.fields == {"spec.steps": "At least 1."}


def test_wait_returns_a_failed_run_too(server: FaultyServer) -> None:
    server.answers = [reply({"state": "RUNNING"}), reply({"state": "FAILED"})]
    seen: list[str] = []
    run = client(server).wait("r_1", poll_s=0.001, each=lambda now: seen.append(now["state"]))
    assert run["state"] == "FAILED"
    assert seen == ["RUNNING", "FAILED"]


def test_wait_does_not_wait_for_ever(server: FaultyServer) -> None:
    server.otherwise = lambda asked: reply({"state": "QUEUED"})
    with pytest.raises(WaitTimeout, match="QUEUED"):
        client(server).wait("r_1", timeout_s=0.02, poll_s=0.01)


def test_metrics_come_as_columns_with_values_that_are_not_finite_in_place(server: FaultyServer) -> None:
    chart = {
        "series": [
            {
                "key": "loss",
                "x": [1, 3],
                "value": [0.5, 0.25],
                "non_finite": [{"step": 2, "x": 2, "value": "NaN"}, {"step": 4, "x": 4, "value": "-Infinity"}],
            }
        ]
    }
    server.answers = [reply({"items": [{"key": "loss"}], "next_cursor": None}), reply(chart)]
    loss = client(server).metrics("r_1")["loss"]
    assert loss["x"] == [1, 2, 3, 4]
    assert math.isnan(loss["value"][1])
    assert loss["value"][3] == -math.inf


def test_a_list_follows_its_cursor_and_stops_at_the_limit(server: FaultyServer) -> None:
    pages = [reply({"items": [{"id": n}], "next_cursor": f"c{n}"}) for n in range(5)]
    server.answers = pages
    assert [run["id"] for run in client(server).runs("demo/first", limit=3)] == [0, 1, 2]
    assert "cursor=c0" in server.asked[1].path


@pytest.mark.parametrize("project", ["demo", "/first", "demo/", "a/b/c"])
def test_a_project_is_written_org_slash_project(server: FaultyServer, project: str) -> None:
    with pytest.raises(ValueError, match="ORG/PROJECT"):
        client(server).submit(project, "distillation")
