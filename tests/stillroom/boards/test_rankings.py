"""Leaderboards: what enters, how it is ranked, and what is never dropped."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.boards.ranking import Result, standings
from support.cast import Cast, NodeActor, attach_node, running, small_spec


def results(*values: float | None, first_seed: int = 0) -> list[Result]:
    return [Result(f"r{seed}", seed, value) for seed, value in enumerate(values, first_seed)]


def test_the_best_mean_comes_first_and_noise_shares_a_rank() -> None:
    entries = {
        "clear": results(1.0, 1.01, 0.99),
        "noisy one": results(5.0, 6.0, 7.0),
        "noisy two": results(5.5, 6.5, 7.5),
        "worst": results(90.0, 90.1, 89.9),
    }
    found = standings(entries, goal="min", target=None)
    assert [(item.key, item.rank) for item in found] == [
        ("clear", (1, 1)),
        ("noisy one", (2, 3)),
        ("noisy two", (2, 3)),
        ("worst", (4, 4)),
    ]
    reversed_order = standings(entries, goal="max", target=None)
    assert [item.key for item in reversed_order] == ["worst", "noisy two", "noisy one", "clear"]


def test_failures_are_counted_and_an_entry_without_a_value_comes_last() -> None:
    found = standings(
        {"half": results(1.0, None), "none": results(None, None), "nan": results(math.nan)}, goal="min", target=None
    )
    assert [(item.key, item.n, item.failed, item.rank) for item in found] == [
        ("half", 1, 1, (1, 1)),
        ("nan", 0, 1, None),
        ("none", 0, 2, None),
    ]


def test_a_seed_that_ran_twice_counts_once() -> None:
    twice = [Result("a", 0, None), Result("b", 0, 3.0), Result("c", 0, 1.0)]
    (item,) = standings({"x": twice}, goal="min", target=None)
    assert (item.n, item.failed, item.interval and item.interval.mean) == (1, 0, 3.0)


def test_who_did_not_reach_the_target_is_counted() -> None:
    runs = [Result("a", 0, 0.5, target_step=10), Result("b", 1, 0.9, target_step=None)]
    (item,) = standings({"x": runs}, goal="min", target=0.6)
    assert item.reached == 1
    assert item.steps_to_target is not None
    assert (item.steps_to_target.mean, item.steps_to_target.n) == (10.0, 1)


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3), st.lists(st.floats(-10, 10), min_size=1, max_size=5), max_size=6
    )
)
def test_every_entry_is_ranked_within_the_field(values: dict[str, list[float]]) -> None:
    found = standings({key: results(*row) for key, row in values.items()}, goal="min", target=None)
    assert sorted(item.key for item in found) == sorted(values)
    for place, item in enumerate(found, 1):
        assert item.rank is not None
        assert 1 <= item.rank[0] <= place <= item.rank[1] <= len(found)


def board(cast: Cast, **more: Any) -> str:
    payload = {"name": "b", "recipe": "optimizer_benchmark", "frozen": {}, "metric": "loss", "goal": "min", **more}
    answer = cast.adam.http.post("/benchmarks", payload)
    assert answer.status == 201, answer.text
    return str(answer.body["id"])


def finished(cast: Cast, node: NodeActor, spec: dict[str, Any], seed: int, values: list[float]) -> str:
    run = running(cast.ada, node, spec=spec, seed=seed)
    steps = list(range(len(values)))
    series = [{"key": "loss", "step": steps, "value": values, "time": [1.7e9] * len(values)}]
    run.http.post(f"/runs/{run.id}/points", {"epoch": run.epoch, "seq": 1, "series": series})
    node.finish(run.id, run.epoch, final_seq=1)
    return run.id


def test_runs_that_match_enter_by_themselves(cast: Cast) -> None:
    node = attach_node()
    benchmark = board(cast, frozen={"steps": small_spec()["steps"]}, target=0.5, seeds=2)
    sgd = {**small_spec(), "optimizer": {"kind": "sgd", "lr": 0.1}}
    for seed in (0, 1):
        finished(cast, node, small_spec(), seed, [2.0, 0.4 + 0.01 * seed])
        finished(cast, node, sgd, seed, [3.0, 1.0 + 0.01 * seed])
    finished(cast, node, {**small_spec(), "steps": 470}, 0, [0.0])
    entries = cast.vera.http.get(f"/benchmarks/{benchmark}").body["entries"]
    assert [(entry["n"], entry["reached"], entry["complete"]) for entry in entries] == [(2, 2, True), (2, 0, True)]
    assert [entry["spec"]["optimizer.kind"] for entry in entries] == ["adam", "sgd"]
    assert entries[0]["steps_to_target"]["mean"] == 1.0
    assert entries[0]["lo"] < entries[0]["mean"] < entries[0]["hi"]
    assert entries[0]["values"] == pytest.approx([0.4, 0.41])
    assert entries[0]["columns"] == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"frozen": {"stepz": 3}}, "frozen.stepz"),
        ({"goal": "most"}, "goal"),
        ({"seeds": 0}, "seeds"),
        ({"frozen": {"a b": 1}}, "frozen.a b.[key]"),
    ],
)
def test_a_bad_benchmark_is_refused_at_its_field(cast: Cast, change: dict[str, Any], field: str) -> None:
    payload = {"name": "b", "recipe": "optimizer_benchmark", "frozen": {}, "metric": "loss", "goal": "min", **change}
    answer = cast.adam.http.post("/benchmarks", payload)
    assert answer.status == 422
    assert field in answer.body["fields"]


def test_the_same_name_again_is_the_next_version(cast: Cast) -> None:
    versions = [cast.adam.http.get(f"/benchmarks/{board(cast)}").body["version"] for _ in range(2)]
    assert versions == [1, 2]


def test_methods_are_scored_over_leaderboards_by_their_best_trial_of_each_seed(cast: Cast) -> None:
    node = attach_node()
    adam = [{**small_spec(), "optimizer": {"kind": "adam", "lr": lr}} for lr in (0.1, 0.2)]
    sgd = {**small_spec(), "optimizer": {"kind": "sgd", "lr": 0.1}}
    one = board(cast, frozen={"steps": small_spec()["steps"]}, target=0.5)
    two = board(cast, name="hard", frozen={"steps": small_spec()["steps"]}, target=0.05)
    for seed in (0, 1):
        finished(cast, node, adam[0], seed, [2.0, 2.0, 0.4])
        finished(cast, node, adam[1], seed, [2.0, 0.4, 0.4])
        finished(cast, node, sgd, seed, [3.0, 1.0, 0.01])
    body = cast.vera.http.get(f"/benchmark-scores?benchmark={one}&benchmark={two}").body
    assert [(row["method"], row["score"]) for row in body["methods"]] == [
        ("sgd", pytest.approx((2 / 3 + 1) / 2)),
        ("adam", pytest.approx(0.5)),
    ]
    first, second = body["workloads"]
    assert first["methods"]["adam"] == {"steps": 1.0, "ratio": 1.0, "trials": 2, "studies": 2}
    assert second["methods"]["adam"] == {"steps": None, "ratio": None, "trials": 2, "studies": 2}
    assert body["methods"][0]["profile"][-1] == {"tau": 4.0, "share": 1.0}
    assert {row["speedup"] for row in body["methods"]} == {None}
    # On the board where both arrived, adam needed one step and sgd two.
    against = cast.vera.http.get(f"/benchmark-scores?benchmark={one}&benchmark={two}&reference=sgd").body
    assert {row["method"]: row["speedup"] for row in against["methods"]} == {
        "adam": pytest.approx(2.0),
        "sgd": pytest.approx(1.0),
    }
    answer = cast.vera.http.get(f"/benchmark-scores?benchmark={one}&reference=lion")
    assert answer.status == 422
    assert list(answer.body["fields"]) == ["reference"]


def test_versions_of_a_leaderboard_are_not_scored_together(cast: Cast) -> None:
    one, two = board(cast, target=1.0), board(cast, target=2.0)
    answer = cast.vera.http.get(f"/benchmark-scores?benchmark={one}&benchmark={two}")
    assert answer.status == 422
    assert list(answer.body["fields"]) == ["benchmark"]


def test_without_a_target_there_is_nothing_to_score(cast: Cast) -> None:
    answer = cast.vera.http.get(f"/benchmark-scores?benchmark={board(cast)}")
    assert answer.status == 422
    assert answer.body["fields"] == {"benchmark": "Give it a target."}


def test_columns_stand_beside_the_rank_and_have_no_say_in_it(cast: Cast) -> None:
    node = attach_node()
    benchmark = board(cast, columns=["optim/state_bytes", "nowhere"])
    for seed in (1, 0):
        run = running(cast.ada, node, spec=small_spec(), seed=seed)
        series = [
            {"key": "loss", "step": [0], "value": [2.0 - seed], "time": [1.7e9]},
            {"key": "optim/state_bytes", "step": [0], "value": [100.0 + seed], "time": [1.7e9]},
        ]
        run.http.post(f"/runs/{run.id}/points", {"epoch": run.epoch, "seq": 1, "series": series})
        node.finish(run.id, run.epoch, final_seq=1)
    (entry,) = cast.vera.http.get(f"/benchmarks/{benchmark}").body["entries"]
    assert entry["values"] == [2.0, 1.0]
    assert entry["columns"]["nowhere"] is None
    assert (entry["columns"]["optim/state_bytes"]["mean"], entry["columns"]["optim/state_bytes"]["n"]) == (100.5, 2)
    changed = cast.adam.http.patch(f"/benchmarks/{benchmark}", {"columns": ["perf/step_s"], "description": "d"})
    assert (changed.body["columns"], changed.body["description"]) == (["perf/step_s"], "d")


def test_a_target_is_set_once(cast: Cast) -> None:
    benchmark = board(cast)
    assert cast.adam.http.patch(f"/benchmarks/{benchmark}", {"target": 0.5}).body["target"] == 0.5
    for payload in ({"target": 0.25}, {"target": None}):
        answer = cast.adam.http.patch(f"/benchmarks/{benchmark}", payload)
        assert (answer.status, list(answer.body["fields"])) == (422, ["target"])
    assert cast.adam.http.patch(f"/benchmarks/{benchmark}", {"target": 0.5, "description": "d"}).status == 200
    assert cast.vera.http.get(f"/benchmarks/{benchmark}").body["target"] == 0.5


@pytest.mark.parametrize("columns", [["a", "a"], ["a", "b", "c", "d", "e", "f"], [""], None])
def test_bad_columns_are_refused_at_their_field(cast: Cast, columns: Any) -> None:
    answer = cast.adam.http.patch(f"/benchmarks/{board(cast)}", {"columns": columns})
    assert answer.status == 422
    assert all(field.startswith("columns") for field in answer.body["fields"])
