"""The newcomer's path by script: every recipe on real data, submitted, followed live, finished."""

from __future__ import annotations

import httpx
import pytest

from models_core.catalog import recipes
from support.platform import Platform, until
from support.stream import Follower

pytestmark = [pytest.mark.xdist_group("journeys"), pytest.mark.slow]


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_a_recipe_from_submit_to_its_last_point(installation: Platform, recipe: str) -> None:
    found = recipes()[recipe]
    example = min(found.examples, key=lambda example: example.cost_s)
    run = installation.submit(recipe, example.spec.model_dump(mode="json"), seed=1)
    follower = Follower(installation, run)
    follower.start()
    ended = installation.wait(run)
    follower.join(60)
    assert ended["state"] == "SUCCEEDED", ended["reason"]
    assert ended["progress"]["step"] == ended["progress"]["total"]
    assert not follower.is_alive()
    assert follower.gaps == []
    key = found.primary_metric.key
    assert {step: value for (name, step), value in follower.points.items() if name == key} == dict(
        installation.points(run, key)
    )
    assert installation.api("GET", f"/runs/{run}/logs")["items"]
    assert "system/memory_bytes" in ended["metrics"]


def test_the_same_spec_and_seed_give_the_same_numbers(installation: Platform) -> None:
    example = min(recipes()["optimizer_benchmark"].examples, key=lambda example: example.cost_s)
    spec = {**example.spec.model_dump(mode="json"), "steps": 30}
    runs = [installation.submit("optimizer_benchmark", spec, seed=7) for _ in range(2)]
    assert [installation.wait(run)["state"] for run in runs] == ["SUCCEEDED"] * 2
    first, second = (installation.points(run, "train/loss") for run in runs)
    assert first == second
    assert len(first) > 0


def test_a_running_run_stops_when_asked_and_keeps_its_checkpoint(installation: Platform) -> None:
    run = installation.submit("optimizer_benchmark", long_spec())
    installation.wait(run, "RUNNING")
    until_points(installation, run)
    installation.api("POST", f"/runs/{run}/cancel")
    ended = installation.wait(run)
    assert ended["state"] == "CANCELLED"
    paths = [item["path"] for item in installation.api("GET", f"/runs/{run}/artifacts")["items"]]
    assert any("checkpoints/" in path for path in paths)


def test_a_paused_run_goes_on_from_its_checkpoint(installation: Platform) -> None:
    run = installation.submit("optimizer_benchmark", {**long_spec(), "steps": 3000})
    until_points(installation, run)
    installation.api("POST", f"/runs/{run}/pause")
    held = installation.wait(run, "HELD")
    reached = held["metrics"]["train/loss"]["last_step"]
    installation.api("POST", f"/runs/{run}/resume")
    installation.wait(run, "RUNNING")
    installation.api("POST", f"/runs/{run}/cancel")
    installation.wait(run)
    attempts = installation.api("GET", f"/runs/{run}/events")["attempts"]
    assert attempts[-1]["resume_step"] == reached


def test_readiness_and_health_answer(installation: Platform) -> None:
    assert httpx.get(f"{installation.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{installation.url}/readyz").json()["checks"] == {"database": "ok", "valkey": "ok"}
    assert "python_info" in httpx.get(f"{installation.url}/metrics").text


def long_spec() -> dict[str, object]:
    example = min(recipes()["optimizer_benchmark"].examples, key=lambda example: example.cost_s)
    return {**example.spec.model_dump(mode="json"), "steps": 200_000, "checkpoint_every": 500}


def until_points(installation: Platform, run: str) -> None:
    until(lambda: "train/loss" in installation.run(run)["metrics"], what="the first points")
