"""Submitting runs and studies: what is accepted, what is refused, and where the refusal points."""

from __future__ import annotations

import pytest

from support.cast import PROJECT, Answer, Cast, Http, small_spec, submit
from support.threads import at_once

RUNS = f"/orgs/aster/projects/{PROJECT}/runs"
STUDIES = f"/orgs/aster/projects/{PROJECT}/studies"


def test_a_submitted_run_is_queued_with_its_spec_written_out(cast: Cast) -> None:
    run = cast.mel.http.get(f"/runs/{submit(cast.mel, seed=3)}").body
    assert run["state"] == "QUEUED"
    assert run["seed"] == 3
    assert run["spec"] == small_spec()
    assert len(run["spec_hash"]) == 64
    assert run["waiting"]["message"]


def test_the_seed_is_not_part_of_the_spec_hash(cast: Cast) -> None:
    first, second = (cast.mel.http.get(f"/runs/{submit(cast.mel, seed=seed)}").body for seed in (0, 1))
    assert first["spec_hash"] == second["spec_hash"]


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"stepz": 3}, "spec.stepz", "Did you mean steps?"),
        ({"steps": "many"}, "spec.steps", "whole number"),
        ({"steps": -1}, "spec.steps", "at least"),
        ({"optimizer": {"kind": "sonew", "lr": 0.1, "band": 99}}, "spec.optimizer.band", ""),
        ({"optimizer": {"kind": "magic"}}, "spec.optimizer", "sgd"),
    ],
)
def test_a_bad_spec_is_refused_at_its_field(cast: Cast, change: dict[str, object], field: str, says: str) -> None:
    answer = cast.mel.http.post(RUNS, {"recipe": "optimizer_benchmark", "spec": {**small_spec(), **change}})
    assert answer.status == 422
    assert answer.body["code"] == "spec.invalid"
    assert says in answer.body["fields"][field]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"recipe": "alchemy"}, "recipe"),
        ({"colour": "red"}, "colour"),
        ({"seed": -1}, "seed"),
        ({"seed": "0"}, "seed"),
        ({"resources": {"devices": 0}}, "resources.devices"),
        ({"parent": "r_0000000000"}, "parent"),
        ({"name": "a\x00b"}, "name"),
    ],
)
def test_a_bad_request_is_refused_at_its_field(cast: Cast, payload: dict[str, object], field: str) -> None:
    answer = cast.mel.http.post(RUNS, {"recipe": "optimizer_benchmark", "spec": small_spec(), **payload})
    assert answer.status == 422
    assert field in answer.body["fields"]
    assert answer.body["request_id"]


def test_the_same_idempotency_key_returns_the_same_run(cast: Cast) -> None:
    payload = {"recipe": "optimizer_benchmark", "spec": small_spec()}
    keyed = {"headers": {"Idempotency-Key": "once"}}
    first, second = (cast.mel.http.post(RUNS, payload, **keyed) for _ in range(2))
    assert first.body["id"] == second.body["id"]
    other = cast.mel.http.post(RUNS, {**payload, "seed": 9}, **keyed)
    assert (other.status, other.body["code"]) == (409, "idempotency.conflict")


@pytest.mark.parametrize("path", [RUNS, STUDIES])
def test_a_request_that_arrives_many_times_at_once_is_done_once(cast: Cast, path: str) -> None:
    payload = {"recipe": "optimizer_benchmark", "spec": small_spec(), "name": "once"}
    answers: list[Answer] = []

    def send() -> None:
        answers.append(Http(cast.mel.http.token).post(path, payload, headers={"Idempotency-Key": "once"}))

    at_once(6, send)
    assert {answer.status for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.body["id"] for answer in answers}) == 1
    assert cast.mel.http.get(RUNS).body["total"] == 1


def test_a_study_is_arms_times_seeds(cast: Cast) -> None:
    arms = [
        {"name": "slow", "spec": {"optimizer": {"kind": "sgd", "lr": 0.01}}},
        {"name": "fast", "spec": {"optimizer": {"kind": "sgd", "lr": 0.1}}},
    ]
    payload = {"name": "rates", "recipe": "optimizer_benchmark", "spec": small_spec(), "arms": arms, "seeds": [0, 1, 2]}
    study = cast.mel.http.post(STUDIES, payload).body
    runs = cast.mel.http.get(f"{RUNS}?study={study['id']}&group=spec").body
    assert runs["total"] == 6
    assert sorted((group["label"], group["n"]) for group in runs["groups"]) == [("fast", 3), ("slow", 3)]
    assert {run["arm"] for run in runs["items"]} == {"slow", "fast"}


def test_a_template_gives_what_the_request_leaves_out(cast: Cast) -> None:
    template = cast.mel.http.get("/recipes/optimizer_benchmark").body["templates"][0]
    payload = {"name": "bands", "recipe": "optimizer_benchmark", "template": template["name"]}
    whole = cast.mel.http.post(STUDIES, payload).body
    assert whole["template"] == template["name"]
    assert [arm["name"] for arm in whole["arms"]] == [arm["name"] for arm in template["arms"]]
    assert whole["seeds"] == template["seeds"]

    # What the request says wins; the rest of the template stays.
    short = cast.mel.http.post(STUDIES, payload | {"spec": {"steps": 40, "warmup_steps": 4}, "seeds": [7]}).body
    runs = cast.mel.http.get(f"{RUNS}?study={short['id']}").body["items"]
    assert {run["spec"]["steps"] for run in runs} == {40}
    assert {run["spec"]["optimizer"]["kind"] for run in runs} == {"adam", "sgd", "sonew"}
    assert {run["seed"] for run in runs} == {7}


def test_an_unknown_template_is_named(cast: Cast) -> None:
    answer = cast.mel.http.post(STUDIES, {"name": "s", "recipe": "optimizer_benchmark", "template": "bogus"})
    assert answer.status == 422
    assert answer.body["fields"] == {"template": "There is no such template."}
    assert "sonew_bands" in answer.body["message"]


def test_an_arm_of_another_shape_takes_no_fields_of_the_base(cast: Cast) -> None:
    base = small_spec() | {"workload": {"task": "autoencoder", "data": "digits", "code": 4}}
    arms = [{"name": "rebuild"}, {"name": "classify", "spec": {"workload": {"task": "classifier", "data": "digits"}}}]
    answer = cast.mel.http.post(
        STUDIES, {"name": "s", "recipe": "optimizer_benchmark", "spec": base, "arms": arms, "seeds": [0]}
    )
    assert answer.status == 201, answer.text


def test_a_study_with_one_bad_arm_launches_nothing(cast: Cast) -> None:
    arms = [{"name": "good"}, {"name": "bad", "spec": {"steps": 0}}]
    answer = cast.mel.http.post(
        STUDIES, {"name": "s", "recipe": "optimizer_benchmark", "spec": small_spec(), "arms": arms}
    )
    assert "arms.1.spec.steps" in answer.body["fields"]
    assert cast.mel.http.get(RUNS).body["total"] == 0


def test_lists_page_by_cursor_without_gap_or_repetition(cast: Cast) -> None:
    made = [submit(cast.mel, seed=seed) for seed in range(7)]
    seen, cursor = [], ""
    while cursor is not None:
        page = cast.mel.http.get(f"{RUNS}?limit=3&sort=name" + (f"&cursor={cursor}" if cursor else "")).body
        seen += [run["id"] for run in page["items"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == sorted(made)
    assert cast.mel.http.get(f"{RUNS}?cursor=nonsense").body["fields"] == {"cursor": "Not a cursor of this list."}


def test_search_finds_names_ids_and_tags(cast: Cast) -> None:
    wanted = submit(cast.mel, name="needle in hay", tags={"ablation": "yes"})
    submit(cast.mel, name="hay")
    for query in ("needle", wanted, "ablation", "needle ablation"):
        assert [run["id"] for run in cast.mel.http.get(f"{RUNS}?q={query}").body["items"]] == [wanted]
    assert cast.mel.http.get(f"{RUNS}?state=BURNING").body["fields"]["state"]


def test_retry_and_clone_point_back_to_their_parent(cast: Cast) -> None:
    run = submit(cast.mel)
    assert cast.mel.http.post(f"/runs/{run}/retry").body["code"] == "run.not_ended"
    cast.mel.http.post(f"/runs/{run}/cancel")
    again = cast.mel.http.post(f"/runs/{run}/retry").body
    clone = cast.mel.http.post(f"/runs/{run}/clone", {"seed": 5, "name": "copy"}).body
    assert (again["parent"], again["seed"]) == (run, 0)
    assert (clone["parent"], clone["seed"], clone["name"]) == (run, 5, "copy")


@pytest.mark.parametrize(
    ("recipe", "change", "needed"),
    [
        ("language_model", {"data_parallel": 2}, 2),
        ("language_model", {"data_parallel": 2, "fsdp": 2}, 4),
        ("federated_training", {"devices": 2}, 2),
    ],
)
def test_a_spec_that_needs_more_devices_than_are_asked_for_is_refused_at_once(
    cast: Cast, recipe: str, change: dict[str, int], needed: int
) -> None:
    spec = {**small_spec(recipe), **change}
    resources = {"kind": "cpu", "devices": needed - 1}
    payload = {"recipe": recipe, "spec": spec, "resources": resources}
    refused = cast.mel.http.post(RUNS, payload)
    assert (refused.status, list(refused.body["fields"])) == (422, ["resources.devices"]), refused.text
    study = {"name": "s", "arms": [{"name": "plain"}, {"name": "wide", "spec": change}], "seeds": [0]}
    of_arm = cast.mel.http.post(STUDIES, {**payload, **study, "spec": small_spec(recipe)})
    assert (of_arm.status, list(of_arm.body["fields"])) == (422, ["resources.devices"])
    assert cast.mel.http.post(RUNS, {**payload, "resources": {"kind": "cpu", "devices": needed}}).status == 201
