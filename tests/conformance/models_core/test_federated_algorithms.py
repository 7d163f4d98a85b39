"""What every federated algorithm promises, for each that is found."""

from __future__ import annotations

import numpy as np
import pytest

from models_core import federated
from models_core.federated._options import AlgorithmOptions
from models_core.federated.simulation import latency
from models_core.federated.simulation.schedule import Fleet

NAMES = sorted(federated.algorithms())


@pytest.fixture(params=NAMES)
def options(request: pytest.FixtureRequest) -> AlgorithmOptions:
    return federated.algorithms()[request.param]()


def crowd(options: AlgorithmOptions) -> Fleet:
    sizes = [3 + client % 5 for client in range(options.clients_needed() + 5)]
    return Fleet(sizes, latency.build(latency.LogNormal(), sizes=sizes, seed=1), 1)


def test_books_balance_at_every_step(options: AlgorithmOptions) -> None:
    plan = federated.plan(options, crowd(options), steps=30)
    np.testing.assert_array_equal(plan.started, plan.used + plan.late + plan.too_old + plan.lost + plan.in_flight)
    assert np.all(plan.in_flight >= 0)
    assert np.all(plan.received >= plan.used)
    assert np.all(np.diff(plan.clock_s) >= 0)
    assert plan.staleness.min() >= 0
    assert np.all(plan.weight >= 0)
    assert np.all(plan.weight.sum(axis=1) > 0)


def test_a_plan_is_a_pure_function_and_a_longer_one_begins_with_it(options: AlgorithmOptions) -> None:
    short, again, long = (federated.plan(options, crowd(options), steps=steps) for steps in (10, 10, 25))
    assert short.fingerprint == again.fingerprint
    width = short.client.shape[1]
    for name in short.__dataclass_fields__:
        one, other = getattr(short, name), getattr(long, name)[:10]
        if name in ("late_weight", "stale") and options.kind == "fare_dust":
            # Late reports of the last rounds are settled after them; no teacher is made of these rounds yet.
            one, other = one[:5], other[:5]
        np.testing.assert_array_equal(one, other[:, :width] if other.ndim == 2 else other, err_msg=name)
        assert other.ndim == 1 or name in ("version", "teacher") or not other[:, width:].any()


def test_options_say_what_they_are(options: AlgorithmOptions) -> None:
    assert federated.algorithms()[options.kind] is type(options)
    assert options.clients_needed() >= 1
    assert type(options).__doc__
