"""The best fixed point in hindsight, and regret against it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from models_core import catalog
from models_core.data import tabular
from models_core.data._dataset import DataInvalid
from models_core.events import Context, Metric
from models_core.training.account import MOST_WAITING, Account
from models_core.training.workloads import online_convex

RECIPE = catalog.recipe("optimizer_benchmark")


def table() -> tuple[np.ndarray, np.ndarray]:
    found = tabular.load("breast_cancer")
    return found.x, found.y


@pytest.mark.parametrize("radius", [0.3, 3.0])
def test_no_point_of_the_ball_beats_the_best_one(radius: float) -> None:
    x, y = table()
    best = online_convex.best_fixed_point(x, y, radius=radius)
    assert np.linalg.norm(best) == pytest.approx(radius, rel=1e-6)
    least = online_convex.losses(best, x, y).sum()
    generator = np.random.default_rng(0)
    others = best + 0.02 * radius * generator.normal(size=(300, len(best)))
    others *= np.minimum(1, radius / np.linalg.norm(others, axis=1))[:, None]
    assert all(online_convex.losses(other, x, y).sum() >= least - 1e-6 for other in others)
    # On the border the gradient points straight out of the ball.
    gradient = x.T @ (1 / (1 + np.exp(-x @ best)) - y)
    np.testing.assert_allclose(gradient / np.linalg.norm(gradient), -best / radius, atol=1e-5)


def test_inside_the_ball_the_gradient_vanishes() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 3))
    y = (generator.random(200) < 0.5).astype(float)
    best = online_convex.best_fixed_point(x, y, radius=100.0)
    assert np.linalg.norm(best) < 1
    np.testing.assert_allclose(x.T @ (1 / (1 + np.exp(-x @ best)) - y), 0, atol=1e-6)


def online(optimizer: dict[str, object], *, eval_every: int = 569, **workload: object) -> dict[str, list[float]]:
    spec = RECIPE.parse(
        {
            "workload": {"task": "online_convex", **workload},
            "optimizer": optimizer,
            "steps": 569,
            "batch_size": 1,
            "warmup_steps": 0,
            "decay": "none",
            "eval_every": eval_every,
        }
    )
    found: dict[str, list[float]] = {}
    for event in RECIPE.run(spec, Context(seed=0)):
        if isinstance(event, Metric):
            for key, value in event.values.items():
                found.setdefault(key, []).append(value)
    return found


def test_regret_is_what_was_paid_before_each_update_minus_what_the_best_point_pays() -> None:
    x, y = table()
    found = online({"kind": "sgd", "lr": 0.1, "momentum": 0.0}, radius=5.0)
    w, paid = np.zeros(x.shape[1]), 0.0
    for features, label in zip(x, y, strict=True):
        paid += online_convex.losses(w, features[None], np.array([label]))[0]
        w -= 0.1 * features * (1 / (1 + math.exp(-features @ w)) - label)
    best = online_convex.best_fixed_point(x, y, radius=5.0)
    assert found["eval/loss"] == [pytest.approx(math.log(2), rel=1e-6), pytest.approx(paid / len(y), rel=1e-4)]
    regret = paid - online_convex.losses(best, x, y).sum()
    assert found["online/regret"] == [pytest.approx(regret, rel=1e-3)]
    assert found["online/mean_regret"][0] == pytest.approx(found["online/regret"][0] / 569)


@pytest.mark.parametrize("optimizer", [{"kind": "adagrad", "lr": 0.3}, {"kind": "s_adagrad", "lr": 0.5, "rank": 4}])
def test_mean_regret_falls_as_the_pass_goes_on(optimizer: dict[str, object]) -> None:
    # Shuffled: in the file's order the hard examples come first.
    found = online(optimizer, eval_every=142, order="shuffled", radius=5.0)["online/mean_regret"]
    first, *_, last = found
    assert 0 < last < 0.6 * first


class Loss:
    """A scalar on a device that counts how often it is waited for."""

    read = 0

    def __float__(self) -> float:
        Loss.read += 1
        return 0.5


def test_losses_are_waited_for_when_their_sum_is_read_or_too_many_wait() -> None:
    account = Account(1.0, weight=2.0)
    for _ in range(3):
        account.add(Loss())
    assert Loss.read == 0
    assert [account.total, account.total] == [4.0, 4.0]
    assert Loss.read == 3
    for _ in range(MOST_WAITING):
        account.add(Loss())
    assert Loss.read == 3 + MOST_WAITING
    assert account.total == 4.0 + MOST_WAITING


def test_shuffling_is_the_seeds_and_more_than_one_pass_is_refused() -> None:
    orders = [
        RECIPE.parse({"workload": {"task": "online_convex", "order": order}, "steps": 5, "batch_size": 1,
                      "warmup_steps": 0}) for order in ("file", "shuffled")
    ]  # fmt: skip
    losses = [
        [event.values["train/loss"] for event in RECIPE.run(spec, Context(seed=0)) if isinstance(event, Metric)
         and "train/loss" in event.values] for spec in orders
    ]  # fmt: skip
    assert losses[0][1:] != losses[1][1:]
    with pytest.raises(Exception, match="not valid") as refusal:
        RECIPE.parse({"workload": {"task": "online_convex"}, "steps": 570, "batch_size": 1})
    assert list(refusal.value.fields) == ["steps"]


def test_files_in_libsvms_format_are_read_and_others_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny").write_bytes(b"+1 1:0.5 3:2\n# a remark\n-1 2:1 # another\n\n0 1:3\n")
    found = tabular.load("libsvm", "tiny", tmp_path)
    np.testing.assert_array_equal(found.x, [[0.5, 0, 2, 1], [0, 1, 0, 1], [3, 0, 0, 1]])
    np.testing.assert_array_equal(found.y, [1, 0, 0])
    for content, reason in (
        (b"1 1:0.5\n1 2\n", "Line 2"),
        (b"1 0:1\n", "index below 1"),
        (b"1 1:nan\n", "not finite"),
        (b"", "no examples"),
        (b"1 900000000:1\n", "more than"),
    ):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(DataInvalid, match=reason):
            tabular.load("libsvm", "bad", tmp_path)
    with pytest.raises(DataInvalid, match="not below"):
        tabular.load("libsvm", "../secret", tmp_path)
    with pytest.raises(DataInvalid, match="neither"):
        tabular.load("libsvm", "absent", tmp_path)
