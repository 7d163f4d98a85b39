"""What every search strategy promises, for each that is found."""

from __future__ import annotations

import json
import math

import pytest

from models_core import search
from models_core.search._options import StrategyOptions
from models_core.search.ledger import Ledger, Trial
from models_core.search.space import Range, Space

TRIALS, REPORTS = 9, 9
SPACE = Space(one_minus_beta2=None, eps=Range(low=1e-9, high=1e-3))


@pytest.fixture(params=sorted(search.strategies()))
def strategy(request: pytest.FixtureRequest) -> StrategyOptions:
    return search.strategies()[request.param]()


def searched(strategy: StrategyOptions, *, seed: int = 5, cut: tuple[int, int] | None = None) -> list[Trial]:
    """A search for the lr nearest to 1e-2; trial 3 diverges. cut: trial and report at which it goes through JSON."""
    ledger = Ledger(strategy, SPACE, seed=seed)
    for number in range(TRIALS):
        trial = ledger.ask()
        for report in range(REPORTS):
            if cut == (number, report):
                ledger = Ledger(strategy, SPACE, seed=seed, trials=json.loads(json.dumps(ledger.to_json())))
                trial = ledger.trials[-1]
            distance = math.nan if number == 3 else abs(math.log10(trial.point["lr"]) + 2)
            if ledger.report(distance + 1 / (report + 1)):
                ledger.finish(distance, "given_up")
                break
        else:
            ledger.finish(distance)
    return ledger.trials


def test_points_lie_in_the_space_and_differ(strategy: StrategyOptions) -> None:
    trials = searched(strategy)
    spans = SPACE.tuned()
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert all(trial.point.keys() == spans.keys() for trial in trials)
    assert all(spans[role].low <= place <= spans[role].high for t in trials for role, place in t.point.items())
    assert len({tuple(trial.point.values()) for trial in trials}) == TRIALS


def test_a_search_that_went_through_json_goes_on_as_if_it_had_not_stopped(strategy: StrategyOptions) -> None:
    whole = searched(strategy)
    # The last place is one that no strategy gives up before.
    for cut in ((0, 0), (4, 0), (6, 1)):
        assert [trial.to_json() for trial in searched(strategy, cut=cut)] == [trial.to_json() for trial in whole]


def test_a_diverged_trial_is_never_the_best(strategy: StrategyOptions) -> None:
    trials = searched(strategy)
    assert trials[3].state == "diverged"
    assert trials[3].value == math.inf
    ledger = Ledger(strategy, SPACE, seed=5, trials=[trial.to_json() for trial in trials])
    best = ledger.best
    assert best is not None
    assert best.value == min(trial.value for trial in trials if trial.state == "complete")
