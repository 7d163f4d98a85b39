"""Runs that a script logs: made once for a key, taken over with a new epoch, rewound."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from support.cast import PROJECT, Answer, Cast, running
from support.database import superuser
from support.threads import at_once

RUNS = f"/orgs/aster/projects/{PROJECT}/runs"
MINE = {"writer": "writer-one"}


def made(cast: Cast, **more: Any) -> str:
    return str(cast.mel.http.post(RUNS, {"external": True, **more}).body["id"])


def post(cast: Cast, run: str, epoch: int, seq: int, steps: list[int]) -> Answer:
    series = [{"key": "loss", "step": steps, "value": steps, "time": steps}]
    return cast.mel.http.post(f"/runs/{run}/points", {"epoch": epoch, "seq": seq, "series": series})


def steps(cast: Cast, run: str) -> list[float]:
    found = cast.mel.http.post("/series/query", {"runs": [run], "keys": ["loss"]}).body["series"]
    return list(found[0]["x"]) if found else []


def test_the_same_key_makes_one_run_however_often_it_is_asked(cast: Cast) -> None:
    ids: list[str] = []
    body = {"external": True, "name": "n", "spec": {"lr": 1}}
    headers = {"Idempotency-Key": "k"}
    at_once(4, lambda: ids.append(cast.mel.http.post(RUNS, body, headers=headers).body["id"]))
    cast.mel.http.post(f"/runs/{ids[0]}/finish", {"state": "SUCCEEDED"})
    again = cast.mel.http.post(RUNS, body, headers=headers)
    assert {*ids, again.body["id"]} == {ids[0]}
    other = cast.mel.http.post(RUNS, {**body, "name": "m"}, headers=headers)
    assert (other.status, other.body["code"]) == (409, "idempotency.conflict")


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", None])
def test_a_new_writer_goes_on_and_the_old_one_is_fenced(cast: Cast, end: str | None) -> None:
    run = made(cast)
    post(cast, run, 1, 1, [0, 1])
    if end:
        cast.mel.http.post(f"/runs/{run}/finish", {"state": end})
    answer = cast.mel.http.post(f"/runs/{run}/reopen", MINE).body
    assert answer == {"epoch": 2, "last_seq": 0, "previous_epoch": 1, "previous_last_seq": 1}
    assert post(cast, run, 1, 2, [9]).body["code"] == "ingest.stale_epoch"
    assert post(cast, run, 2, 1, [2, 3]).status == 200
    assert steps(cast, run) == [0, 1, 2, 3]
    shown = cast.mel.http.get(f"/runs/{run}").body
    assert (shown["state"], shown["ended_at"], shown["metrics"]["loss"]["n"]) == ("RUNNING", None, 4)


def test_the_same_writer_asking_again_gets_the_same_answer(cast: Cast) -> None:
    run = made(cast)
    first = cast.mel.http.post(f"/runs/{run}/reopen", {**MINE, "after_epoch": 1}).body
    post(cast, run, 2, 1, [5])
    again = cast.mel.http.post(f"/runs/{run}/reopen", {**MINE, "after_epoch": 1}).body
    assert again == {**first, "last_seq": 1}
    late = cast.mel.http.post(f"/runs/{run}/reopen", {"writer": "writer-two", "after_epoch": 1})
    assert (late.status, late.body["code"]) == (409, "run.taken_over")


def test_rewinding_hides_what_came_after_the_step(cast: Cast) -> None:
    run = made(cast)
    post(cast, run, 1, 1, [0, 1, 2, 3])
    cast.mel.http.post(f"/runs/{run}/reopen", {**MINE, "step": 1})
    post(cast, run, 2, 1, [2])
    assert steps(cast, run) == [0, 1, 2]
    assert cast.mel.http.get(f"/runs/{run}").body["metrics"]["loss"]["n"] == 3


def test_the_configuration_of_an_external_run_may_change_and_a_managed_ones_may_not(cast: Cast) -> None:
    run = made(cast, spec={"lr": 1}, parent=made(cast))
    assert cast.mel.http.patch(f"/runs/{run}", {"spec": {"lr": 2}}).body["spec"] == {"lr": 2}
    managed = running(cast.ada).id
    assert "spec" in cast.mel.http.patch(f"/runs/{managed}", {"spec": {}}).body["fields"]
    assert cast.mel.http.post(f"/runs/{managed}/reopen", MINE).body["code"] == "run.managed"


@pytest.mark.parametrize("body", [{}, {"writer": "x"}, {**MINE, "step": 2**63}, {**MINE, "after_epoch": 0}])
def test_a_bad_request_names_its_field(cast: Cast, body: dict[str, Any]) -> None:
    answer = cast.mel.http.post(f"/runs/{made(cast)}/reopen", body)
    assert answer.status == 422
    assert set(answer.body["fields"]) <= {"writer", "step", "after_epoch"}


def test_who_ends_a_run_holds_nothing_of_it_while_waiting_for_its_row(cast: Cast) -> None:
    """Otherwise a cancel, which locks the run first, and a finish would wait for each other."""
    run = made(cast)
    answers: list[int] = []
    with superuser() as owner:
        with owner.transaction():
            owner.execute("select from run where id = %s for update", [run])
            ending = threading.Thread(
                target=lambda: answers.append(cast.mel.http.post(f"/runs/{run}/finish", {"state": "SUCCEEDED"}).status)
            )
            ending.start()
            waiting = "select count(*) from pg_locks where not granted"
            deadline = time.monotonic() + 10
            while not owner.execute(waiting).fetchone()[0] and time.monotonic() < deadline:
                time.sleep(0.01)
            owner.execute("select from run_fence where run_id = %s for update nowait", [run])
        ending.join(timeout=10)
    assert answers == [200]


@pytest.mark.parametrize("action", ["cancel", "finish", "reopen"])
def test_a_run_that_goes_to_the_trash_meanwhile_is_not_found(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    from stillroom.runs.services import transition

    run = made(cast)
    monkeypatch.setattr(transition, "lock_runs", lambda ids: [])
    body = {"finish": {"state": "FAILED"}, "reopen": MINE}.get(action)
    assert cast.mel.http.post(f"/runs/{run}/{action}", body).status == 404
