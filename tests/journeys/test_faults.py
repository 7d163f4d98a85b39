"""`kill -9` of everything while a run trains: no acknowledged point is lost, none counts twice, and the run ends truly.

The oracle is the same spec and seed, uninterrupted: a resumed run must give the same numbers, bit for bit.
"""

from __future__ import annotations

from typing import Any

import pytest

from models_core.catalog import recipes
from support.platform import Platform, until
from support.stream import Follower

pytestmark = [pytest.mark.xdist_group("journeys"), pytest.mark.slow]

KEYS = ("train/loss", "eval/loss")


def spec() -> dict[str, Any]:
    """Long enough to be hit in the middle, with checkpoints to come back to."""
    example = min(recipes()["optimizer_benchmark"].examples, key=lambda example: example.cost_s)
    base = example.spec.model_dump(mode="json")
    return {**base, "steps": 6000, "eval_every": 100, "checkpoint_every": 250}


@pytest.fixture(scope="module")
def undisturbed(installation: Platform) -> dict[str, list[Any]]:
    """What the run gives when nobody kills anything."""
    run = installation.submit("optimizer_benchmark", spec(), name="undisturbed")
    assert installation.wait(run)["state"] == "SUCCEEDED"
    return {key: installation.points(run, key) for key in KEYS}


@pytest.mark.parametrize("victim", ["training", "web", "valkey", "node", "scheduler"])
def test_a_kill_in_the_middle_loses_nothing(
    installation: Platform, undisturbed: dict[str, list[Any]], victim: str
) -> None:
    run = installation.submit("optimizer_benchmark", spec(), name=f"without {victim}", max_attempts=5)
    follower = Follower(installation, run)
    follower.start()
    until(lambda: (installation.run(run)["progress"] or {"step": 0})["step"] > 300, what="the run to be in its middle")
    acknowledged = installation.points(run, "train/loss")
    if victim == "training":
        installation.kill_training()
    else:
        installation.kill(victim)
    ended = installation.wait(run)
    follower.join(90)
    assert ended["state"] == "SUCCEEDED", ended["reason"]
    for key in KEYS:
        assert installation.points(run, key) == undisturbed[key], key
    assert set(acknowledged) <= set(undisturbed["train/loss"])
    assert not follower.is_alive(), f"the follower stopped at {follower.position} of {follower.head}"
    assert follower.gaps == []
    shown = sorted((step, value) for (key, step), value in follower.points.items() if key == "eval/loss")
    assert shown == undisturbed["eval/loss"]
    history = installation.api("GET", f"/runs/{run}/events")
    assert history["items"][-1]["to_state"] == "SUCCEEDED"
    assert (len(history["attempts"]) > 1) == (victim in ("training", "node"))
