"""Clocks, cohorts and books of the federated schedules, by hand and by property."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_core import federated
from models_core.federated import fedavg, fedbuff
from models_core.federated.simulation import latency
from models_core.federated.simulation.schedule import Fleet, Schedule


class ScriptedFleet(Fleet):
    """Three clients, always asked in the order 0, 1, 2."""

    def order(self, cohort: int) -> np.ndarray:
        return np.arange(len(self.sizes))


def scripted(durations: list[float], sizes: list[int] | None = None) -> Fleet:
    return ScriptedFleet(sizes or [1] * len(durations), lambda client, participation: durations[client], 0)


def fleet(options: latency.PerClientPerExample | latency.HalfNormal, clients: int = 12, seed: int = 0) -> Fleet:
    sizes = [5 + client for client in range(clients)]
    return Fleet(sizes, latency.build(options, sizes=sizes, seed=seed), seed)


def test_synchronous_clock_waits_for_the_last_report_that_is_used() -> None:
    plan = fedavg.plan(fedavg.Options(cohort=2, over_selection=0.5), scripted([1.0, 5.0, 2.0], [10, 20, 30]), steps=2)
    np.testing.assert_array_equal(plan.client, [[0, 2], [0, 2]])
    np.testing.assert_allclose(plan.clock_s, [2.0, 4.0])
    np.testing.assert_allclose(plan.weight, [[0.25, 0.75]] * 2)
    np.testing.assert_array_equal(plan.late, [1, 2])
    np.testing.assert_array_equal(plan.received, [2, 4])
    np.testing.assert_allclose(plan.wasted_s, [2.0, 4.0])


def test_without_over_selection_no_report_is_dropped() -> None:
    plan = fedavg.plan(fedavg.Options(cohort=3), scripted([1.0, 5.0, 2.0]), steps=2)
    np.testing.assert_allclose(plan.clock_s, [5.0, 10.0])
    assert plan.late[-1] == 0


def test_asynchronous_clock_by_hand() -> None:
    # Two at work. t=0: 0 and 1 start on model 0. t=1: 0 reports; 2 is idle and starts (0 of the next cohort is 0
    # itself).
    options = fedbuff.Options(concurrency=2, buffer=2, staleness_exponent=1.0)
    plan = fedbuff.plan(options, scripted([1.0, 2.5, 4.0]), steps=2)
    # t=1.0 client 0 reports (model 0); cohort 1 = order 0, 1, 2: 0 is idle and starts again on model 0.
    # t=2.0 client 0 reports: first server step, model 1; 1 is busy and 0 was asked in this cohort, so 2 starts on model
    # 1. t=2.5 client 1 reports (model 0, staleness 1); cohort 2: 0 starts on model 1. t=3.5 client 0 reports (model 1,
    # staleness 0): second server step.
    np.testing.assert_array_equal(plan.client, [[0, 0], [1, 0]])
    np.testing.assert_array_equal(plan.version, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(plan.participation, [[0, 1], [0, 2]])
    np.testing.assert_allclose(plan.clock_s, [2.0, 3.5])
    np.testing.assert_array_equal(plan.staleness, [[0, 0], [1, 0]])
    np.testing.assert_allclose(plan.weight, [[0.5, 0.5], [0.25, 0.5]])
    np.testing.assert_array_equal(plan.started, [3, 5])
    np.testing.assert_array_equal(plan.in_flight, [1, 1])


def test_dividing_by_the_weights_makes_them_sum_to_one() -> None:
    options = fedbuff.Options(concurrency=6, buffer=3, divisor="weights")
    plan = fedbuff.plan(options, fleet(latency.HalfNormal()), steps=20)
    np.testing.assert_allclose(plan.weight.sum(axis=1), 1, rtol=1e-12)
    assert plan.staleness.max() > 0


def test_too_old_reports_are_dropped_and_counted() -> None:
    options = fedbuff.Options(concurrency=2, buffer=1, max_staleness=2)
    plan = fedbuff.plan(options, scripted([1.0, 10.0, 1.0]), steps=15)
    assert plan.too_old[-1] == 1
    assert plan.staleness.max() <= 2
    np.testing.assert_allclose(plan.wasted_s[-1], 10.0)


def books_balance(plan: Schedule) -> bool:
    used = (np.arange(len(plan.client)) + 1) * plan.client.shape[1]
    return bool(np.all(plan.started == used + plan.late + plan.too_old + plan.in_flight))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["fedavg", "fedbuff"]),
    clients=st.integers(4, 12),
    asked=st.integers(1, 4),
    buffer=st.integers(1, 5),
    over_selection=st.sampled_from([0.0, 0.3, 1.0]),
    max_staleness=st.integers(0, 5),
    sigma_s=st.sampled_from([0.1, 3.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_books_balance_clock_rises_and_nobody_is_in_flight_twice(
    kind, clients, asked, buffer, over_selection, max_staleness, sigma_s, seed
) -> None:
    options = {
        "fedavg": fedavg.Options(cohort=min(asked, clients // 2), over_selection=over_selection),
        "fedbuff": fedbuff.Options(concurrency=asked, buffer=buffer, max_staleness=max_staleness),
    }[kind]
    crowd = fleet(latency.HalfNormal(sigma_s=sigma_s), clients, seed)
    plan = federated.plan(options, crowd, steps=15)
    assert books_balance(plan)
    assert np.all(np.diff(plan.clock_s) >= 0)
    assert plan.staleness.min() >= 0
    assert plan.history == plan.staleness.max() + 1
    assert plan.staleness.max() <= max_staleness or kind == "fedavg"
    pairs = list(zip(plan.client.ravel().tolist(), plan.participation.ravel().tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    again = federated.plan(options, crowd, steps=15)
    np.testing.assert_array_equal(plan.client, again.client)
    # A longer plan begins with the shorter one.
    np.testing.assert_array_equal(federated.plan(options, crowd, steps=20).client[:15], plan.client)


def test_equal_latencies_make_fedbuff_synchronous() -> None:
    sizes = [4] * 10
    crowd = Fleet(sizes, latency.build(latency.Constant(time_s=2.0), sizes=sizes, seed=0), 0)
    sync = fedavg.plan(fedavg.Options(cohort=4), crowd, steps=8)
    buffered = fedbuff.plan(fedbuff.Options(concurrency=4, buffer=4), crowd, steps=8)
    for name in ("client", "version", "participation", "weight", "clock_s", "started", "received", "in_flight"):
        np.testing.assert_array_equal(getattr(sync, name), getattr(buffered, name), err_msg=name)


@pytest.mark.parametrize("factor", [3.0])
def test_scaling_all_latencies_scales_time_and_changes_no_cohort(factor: float) -> None:
    slow = fleet(latency.HalfNormal(sigma_s=factor))
    fast = fleet(latency.HalfNormal(sigma_s=1.0))
    for options in (fedavg.Options(cohort=3, over_selection=1.0), fedbuff.Options(concurrency=5, buffer=2)):
        one, other = federated.plan(options, fast, steps=10), federated.plan(options, slow, steps=10)
        np.testing.assert_array_equal(one.client, other.client)
        np.testing.assert_allclose(one.clock_s * factor, other.clock_s, rtol=1e-12)


def test_over_selection_asks_whole_clients() -> None:
    assert fedavg.Options(cohort=10, over_selection=0.3).clients_needed() == 13
    assert fedavg.Options(cohort=10, over_selection=0.31).clients_needed() == 14


def test_half_normal_has_its_mean() -> None:
    draw = latency.build(latency.HalfNormal(sigma_s=2.0), sizes=[1], seed=0)
    sample = [draw(0, participation) for participation in range(4000)]
    # Standard error 0.6 x 2 / sqrt(4000) = 0.02.
    assert abs(np.mean(sample) - 2.0 * np.sqrt(2 / np.pi)) < 0.08


def test_lognormal_has_its_median() -> None:
    draw = latency.build(latency.LogNormal(median_s=3.0, sigma=0.5), sizes=[1], seed=0)
    assert abs(np.median([draw(0, participation) for participation in range(4000)]) - 3.0) < 0.15


def test_per_example_latency_grows_with_data_and_slow_clients_are_slower() -> None:
    quiet = {"pace_sigma": 0.0, "noise_sigma": 0.0, "overhead_s": 0.0}
    options = latency.PerClientPerExample(median_s_per_example=0.5, slow_share=0.25, slow_factor=8.0, **quiet)
    sizes = [10, 20, 30, 40] * 5
    draw = latency.build(options, sizes=sizes, seed=1)
    slow = latency.slow_clients(options, clients=20, seed=1)
    assert len(slow) == 5
    factors = np.array([8.0 if client in slow else 1.0 for client in range(20)])
    np.testing.assert_allclose([draw(client, 0) for client in range(20)], np.array(sizes) * 0.5 * factors)


def test_a_draw_depends_on_client_and_participation_alone() -> None:
    draw, again = (latency.build(latency.HalfNormal(), sizes=[1] * 3, seed=5) for _ in range(2))
    forward = [draw(client, number) for client in range(3) for number in range(3)]
    backward = [again(client, number) for client in reversed(range(3)) for number in reversed(range(3))]
    assert forward == backward[::-1]
    assert len(set(forward)) == 9
