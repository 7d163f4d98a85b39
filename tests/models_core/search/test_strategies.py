"""What one strategy does that the others do not, and how a space speaks to optimizers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from models_core import optim, search
from models_core.errors import InputInvalid, SpecInvalid
from models_core.search.asha import Options as Asha
from models_core.search.grid import Options as Grid
from models_core.search.ledger import Ledger
from models_core.search.random import Options as Random
from models_core.search.space import Range, Space
from models_core.search.tpe import Options as Tpe

ONE = Space(lr=Range(low=1e-4, high=1.0), one_minus_beta1=None, one_minus_beta2=None)


def points(strategy: Any, space: Space, trials: int, *, seed: int = 0, best: float = -2.0) -> list[dict[str, float]]:
    ledger = Ledger(strategy, space, seed=seed)
    for _ in range(trials):
        place = math.log10(ledger.ask().point["lr"])
        ledger.report(abs(place - best))
        ledger.finish(abs(place - best))
    return [trial.point for trial in ledger.trials]


def test_random_draws_depend_on_the_seed_alone_and_not_on_what_was_found() -> None:
    assert points(Random(), Space(), 6) == points(Random(), Space(), 6, best=-4.0)
    assert points(Random(), Space(), 6) != points(Random(), Space(), 6, seed=1)


def test_a_grid_has_every_combination_once_with_its_exact_ends() -> None:
    space = Space(lr=Range(low=1e-4, high=1.0), one_minus_beta1=Range(low=0.1, high=0.3, scale="linear"),
                  one_minus_beta2=None)  # fmt: skip
    found = points(Grid(points=3), space, 9)
    expected = {(lr, b) for lr in (1e-4, 1e-2, 1.0) for b in (0.1, 0.2, 0.3)}
    rounded = {(round(point["lr"], 12), round(point["one_minus_beta1"], 12)) for point in found}
    assert rounded == expected
    assert {1e-4, 1.0} <= {point["lr"] for point in found}


def test_parzen_draws_gather_where_trials_were_good() -> None:
    def distance(strategy: Any) -> float:
        later = points(strategy, ONE, 30)[15:]
        return sum(abs(math.log10(point["lr"]) + 2) for point in later) / len(later)

    assert distance(Tpe()) < 0.6 * distance(Random())


def test_halving_gives_up_at_its_rungs_and_lets_the_best_finish() -> None:
    ledger = Ledger(Asha(first=2, factor=3), ONE, seed=0)
    ends = []
    for quality in (3.0, 1.0, 2.0, 9.0, 0.5):
        ledger.ask()
        given_up = [ledger.report(quality) for _ in range(8)]
        ends.append(given_up.index(True) + 1 if any(given_up) else None)
        ledger.finish(quality)
    # Rungs after 2 and 6 reports: the first trial finds nobody there, the worst is out at the first rung.
    assert ends[0] is None
    assert ends[3] == 2
    assert ends[4] is None
    assert set(ends) <= {None, 2, 6}


def test_a_trial_is_asked_for_only_after_the_one_before() -> None:
    ledger = Ledger(Random(), ONE, seed=0)
    with pytest.raises(InputInvalid, match="No trial"):
        ledger.finish(1.0)
    ledger.ask()
    with pytest.raises(InputInvalid, match="still running"):
        ledger.ask()


def test_every_optimizer_has_a_rate_to_tune_and_reads_decays_as_one_minus() -> None:
    point = {"lr": 0.002, "one_minus_beta1": 0.1, "one_minus_beta2": 0.05}
    names = {name: Space().fields_of(options) for name, options in optim.optimizers().items()}
    assert all(found["lr"] == "lr" for found in names.values())
    assert names["sgd"] == {"lr": "lr", "one_minus_beta1": "momentum"}
    assert names["rmsprop"] == {"lr": "lr", "one_minus_beta2": "decay"}
    adam = optim.optimizers()["adam"]
    assert Space(lr_factor=10.0).settings(adam, point) == {
        "lr": pytest.approx(0.02),
        "beta1": pytest.approx(0.9),
        "beta2": pytest.approx(0.95),
    }


def test_a_range_upside_down_is_refused_by_name() -> None:
    with pytest.raises(SpecInvalid) as refusal:
        Space.parse({"lr": {"low": 0.1, "high": 0.01}})
    assert list(refusal.value.fields) == ["lr.high"]


def test_strategies_are_found_by_their_files() -> None:
    assert set(search.strategies()) == {"asha", "grid", "random", "tpe"}
