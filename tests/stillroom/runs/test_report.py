"""What a study's report says: means, paired differences, and nothing dropped in silence."""

from __future__ import annotations

from typing import Any

import pytest

from stillroom.core.intervals import interval
from stillroom.scheduling.services.dispatch import dispatch
from support.cast import PROJECT, Cast, attach_node, small_spec, take

VALUES: dict[tuple[str, int], list[Any]] = {
    ("adam", 0): [3.0, 1.0],
    ("adam", 1): [3.0, 2.0],
    ("sgd", 0): [2.5, 4.0],
    ("sgd", 1): [2.0, 3.5],
    ("lion", 0): ["NaN"],
}


@pytest.fixture
def study(cast: Cast) -> str:
    arms = [{"name": kind, "spec": {"optimizer": {"kind": kind, "lr": 0.01}}} for kind in ("adam", "sgd", "lion")]
    payload = {"recipe": "optimizer_benchmark", "name": "three", "spec": small_spec(), "arms": arms, "seeds": [0, 1]}
    answer = cast.ada.http.post(f"/orgs/aster/projects/{PROJECT}/studies", payload)
    assert answer.status == 201, answer.text
    node = attach_node()
    for _ in answer.body["runs"]:
        dispatch()
        waiting = [cast.ada.http.get(f"/runs/{run}").body for run in answer.body["runs"]]
        assigned = next(run for run in waiting if run["state"] == "ASSIGNED")
        run = take(cast.ada, node, assigned["id"])
        values = VALUES.get((assigned["arm"], assigned["seed"]))
        if values is None:
            continue
        one = {"key": "eval/loss", "step": [*range(len(values))], "value": values, "time": [1.7e9] * len(values)}
        batch = {"epoch": run.epoch, "seq": 1, "series": [one]}
        assert run.http.post(f"/runs/{run.id}/points", batch).status == 200
        node.finish(run.id, run.epoch, final_seq=1)
    return str(answer.body["id"])


def arms_of(cast: Cast, study: str, **query: str) -> dict[str, Any]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    body = cast.vera.http.get(f"/studies/{study}/report?{asked}").body
    return {arm["name"]: arm for arm in body["arms"]}


def test_means_and_paired_differences(cast: Cast, study: str) -> None:
    report = cast.vera.http.get(f"/studies/{study}/report").body
    assert (report["metric"], report["goal"], report["baseline"], report["reduce"]) == (
        "eval/loss",
        "min",
        "adam",
        "last",
    )
    arms = arms_of(cast, study)
    assert arms["adam"]["values"] == {"0": 1.0, "1": 2.0}
    assert arms["adam"]["difference"] is None
    expected = interval([3.0, 1.5])
    assert arms["sgd"]["difference"] == {"mean": 2.25, "half_width": pytest.approx(expected.half_width), "n": 2}
    assert arms["sgd"]["mean"]["mean"] == 3.75


def test_what_has_no_value_is_counted(cast: Cast, study: str) -> None:
    lion = arms_of(cast, study)["lion"]
    assert (lion["values"], lion["mean"], lion["difference"]) == ({}, None, None)
    assert (lion["failed"], lion["unfinished"]) == (1, 1)


def test_the_least_value_and_another_baseline(cast: Cast, study: str) -> None:
    arms = arms_of(cast, study, reduce="min", baseline="sgd")
    assert arms["sgd"]["values"] == {"0": 2.5, "1": 2.0}
    assert arms["adam"]["difference"]["mean"] == pytest.approx((1.0 - 2.5 + 2.0 - 2.0) / 2)


def test_a_metric_that_nobody_logged_is_an_empty_report(cast: Cast, study: str) -> None:
    assert {arm["mean"] is None for arm in arms_of(cast, study, metric="nowhere").values()} == {True}


@pytest.mark.parametrize(("query", "field"), [("baseline=alchemy", "baseline"), ("reduce=most", "reduce")])
def test_a_wrong_question_is_refused_at_its_field(cast: Cast, study: str, query: str, field: str) -> None:
    answer = cast.vera.http.get(f"/studies/{study}/report?{query}")
    assert answer.status == 422
    assert field in answer.body["fields"]
