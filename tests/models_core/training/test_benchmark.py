"""The benchmark's numbers, worked out again from what it leaves behind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from models_core import catalog
from models_core.data import digits
from models_core.errors import SpecInvalid
from models_core.events import Artifact, Context, Metric
from models_core.training.gradient_clock import GradientClock

RECIPE = catalog.recipe("optimizer_benchmark")
SMALL = {
    "workload": {"task": "classifier", "network": {"kind": "mlp", "hidden": [8]}},
    "optimizer": {"kind": "adam", "lr": 0.03},
    "steps": 12,
    "batch_size": 50,
    "warmup_steps": 0,
    "eval_every": 4,
}


@pytest.fixture(scope="module")
def outcome() -> tuple[dict[tuple[int, str], float], dict[str, np.ndarray]]:
    spec = RECIPE.parse(SMALL | {"target": {"metric": "eval/accuracy", "value": 0.2}})
    values: dict[tuple[int, str], float] = {}
    weights: dict[str, np.ndarray] = {}
    for event in RECIPE.run(spec, Context(seed=2)):
        if isinstance(event, Metric):
            values |= {(event.step, key): float(value) for key, value in event.values.items()}
        elif isinstance(event, Artifact):
            weights = load(event.content)
    return values, weights


def logits(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(x @ weights["0.kernel"] + weights["0.bias"], 0)
    found: np.ndarray = hidden @ weights["1.kernel"] + weights["1.bias"]
    return found


def test_final_losses_are_those_of_the_weights_on_all_examples(outcome: Any) -> None:
    values, weights = outcome
    images = digits.load()
    for x, y, loss_key, accuracy_key in (
        (images.train_x, images.train_y, "train/final_loss", "train/final_accuracy"),
        (images.test_x, images.test_y, "eval/loss", "eval/accuracy"),
    ):
        z = logits(weights, x.astype(np.float64))
        losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
        assert values[12, loss_key] == pytest.approx(losses.mean(), rel=1e-4)
        assert values[12, accuracy_key] == pytest.approx(np.mean(z.argmax(axis=1) == y), abs=1e-6)


def test_the_way_to_a_target_is_counted_in_steps_examples_and_seconds(outcome: Any) -> None:
    values, _ = outcome
    arrived = min(step for (step, key), value in values.items() if key == "eval/accuracy" and value >= 0.2)
    assert values[arrived, "steps_to_target"] == arrived > 0
    assert values[arrived, "examples_to_target"] == 50 * arrived
    assert 0 < values[arrived, "seconds_to_target"] < math.inf


def test_adam_keeps_two_numbers_a_parameter_and_two_counts(outcome: Any) -> None:
    values, weights = outcome
    parameters = sum(array.size for array in weights.values())
    assert values[0, "optim/state_bytes"] == pytest.approx(2 * 4 * parameters, abs=8)


def test_a_steps_time_is_gradient_and_update(outcome: Any) -> None:
    values, _ = outcome
    step, gradient, update = (values[12, f"perf/{name}_s"] for name in ("step", "gradient", "update"))
    assert update == max(step - gradient, 0)
    seen: list[int] = []
    clock = GradientClock(seen.append)
    assert clock.split(1e9, 7)["perf/update_s"] > 0
    assert clock.split(0.0, 7)["perf/update_s"] == 0
    assert set(seen) == {7}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"target": {"metric": "eval/accuracy", "value": 0.5}, "workload": {"task": "autoencoder"}}, "target.metric"),
        ({"schedule": "epoch", "decay": "cosine"}, "decay"),
        ({"batch_size": 1438}, "batch_size"),
        ({"workload": {"task": "classifier", "network": {"kind": "cnn", "channels": [4, 4, 4, 4]}}},
         "workload.network.channels"),
        ({"workload": {"task": "classifier", "network": {"kind": "vit", "width": 30}}}, "workload.network.heads"),
        ({"workload": {"task": "imagenet"}}, "workload"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], where: str) -> None:
    with pytest.raises(SpecInvalid) as refusal:
        RECIPE.parse(SMALL | change)
    assert list(refusal.value.fields) == [where]
