"""Models side by side: the first is the one alone, the others are others, a stop changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from models_core import catalog
from models_core.errors import SpecInvalid
from models_core.events import Artifact, Checkpoint, Context, Metric

TINY = {"clients": 12, "algorithm": {"kind": "fedavg", "cohort": 3}, "hidden": [8], "server_steps": 4, "eval_every": 2}


def events(stop_at: int = 0, resume: Checkpoint | None = None, **changes: Any) -> list[Any]:
    recipe = catalog.recipe("federated_training")
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return bool(stop_at) and asked > stop_at

    context = Context(seed=3, should_stop=should_stop, resume=resume)
    return list(recipe.run(recipe.parse({**TINY, "steps_per_call": 1, **changes}), context))


def models(found: list[Any]) -> dict[str, bytes]:
    return {one.name: one.content for one in found if isinstance(one, Artifact) and "model" in one.name}


@pytest.fixture(scope="module")
def beside() -> list[Any]:
    return events(replicas=2)


def test_the_first_of_several_models_is_the_one_alone_and_means_are_reported(beside: list[Any]) -> None:
    alone = events()
    assert sorted(models(beside)) == ["model.safetensors", "model_1.safetensors"]
    one, first, second = (load(content) for content in (*models(alone).values(), *models(beside).values()))
    for name, value in one.items():
        np.testing.assert_allclose(first[name], value, atol=2e-6)
    assert any(np.abs(first[name] - second[name]).max() > 0.01 for name in one)
    last, without = ([event for event in run if isinstance(event, Metric)][-1].values for run in (beside, alone))
    assert last["eval/accuracy_spread"] > 0
    assert "eval/accuracy_spread" not in without


def test_several_models_resume_where_they_stopped(beside: list[Any]) -> None:
    saved = [event for event in events(stop_at=2, replicas=2) if isinstance(event, Checkpoint)][-1]
    assert saved.step == 2
    assert models(events(replicas=2, resume=saved)) == models(beside)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"devices": 2}, "devices"),
        ({"algorithm": {"kind": "dp_ftrl", "cohort": 3}}, "replicas"),
        (
            {"algorithm": {"kind": "fedavg", "cohort": 3, "sampling": "poisson"}, "privacy": {"kind": "dp_fedavg"}},
            "replicas",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        catalog.recipe("federated_training").parse({**TINY, "replicas": 2, **changes})
    assert path in refused.value.fields
