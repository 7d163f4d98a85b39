"""Latencies, traces, availability, drop-outs, deadlines and sampling."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models_core.errors import SpecInvalid
from models_core.federated import fedavg, fedbuff
from models_core.federated.simulation import latency, presence
from models_core.federated.simulation.schedule import Fleet, Schedule
from support import federation as fed


def balanced(plan: Schedule) -> bool:
    return bool(np.all(plan.started == plan.used + plan.late + plan.too_old + plan.lost + plan.in_flight))


def test_slow_domain_is_slower_by_its_factor() -> None:
    options = latency.PerDomainPerExample(slow_factor=10.0, noise_sigma=0.0, overhead_s=0.0, pace_sigma=0.0)
    draw = latency.build(options, sizes=[20] * 10, seed=0, slow=[8, 9])
    assert draw(9, 0) / draw(0, 0) == pytest.approx(10.0)


def test_domain_delays_drop_the_slow_and_plain_delays_drop_everyone_alike() -> None:
    sizes, slow = [20] * 100, set(range(75, 100))
    shares = {}
    for name, options in (("domain", latency.PerDomainPerExample()), ("plain", latency.HalfNormal())):
        fleet = Fleet(sizes, latency.build(options, sizes=sizes, seed=0, slow=sorted(slow)), 0)
        plan = fedavg.plan(fedavg.Options(cohort=20, over_selection=0.5), fleet, steps=100)
        used = np.isin(plan.client, sorted(slow)).mean()
        shares[name] = used
    # 2,000 used reports, a quarter expected: standard error 0.01.
    assert abs(shares["plain"] - 0.25) < 0.05
    assert shares["domain"] < 0.1


@pytest.mark.parametrize(
    ("options", "mean"),
    [
        (latency.Gaussian(mean_s=2.0, sd_s=0.2), 2.0),
        (latency.Uniform(least_s=1.0, most_s=2.0), 1.5),
        (latency.Exponential(mean_s=2.0), 2.0),
        (latency.Listed(times_s=(1.0, 3.0)), 2.0),
        (latency.HalfNormal(sigma_s=1.0, least_s=1.0), 1 + np.sqrt(2 / np.pi)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_other_delays_have_their_means(options: latency.LatencyOptions, mean: float) -> None:
    draw = latency.build(options, sizes=[1], seed=0)
    sample = [draw(0, number) for number in range(2000)]
    assert np.mean(sample) == pytest.approx(mean, abs=5 * np.std(sample) / np.sqrt(2000))


def test_traces_are_read_in_order_and_repeat() -> None:
    table = b"client,seconds\na,1.5\nb,4\na,2.5\n"
    traces = latency.read_trace(table, "t.csv")
    assert traces == [[1.5, 2.5], [4.0]]
    same = latency.read_trace(json.dumps([{"client": "a", "seconds": [1.5, 2.5]}]).encode(), "t.json")
    assert same == [[1.5, 2.5]]
    draw = latency.build(latency.Trace(), sizes=[1] * 3, seed=0, traces=traces)
    assert [draw(0, 0), draw(0, 1), draw(0, 2), draw(1, 0), draw(2, 0)] == [1.5, 2.5, 1.5, 4.0, 1.5]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"client,seconds\na,-1\n", "t.csv"),
        (b"client,seconds\na,nan\n", "t.csv"),
        (b"client,time\na,1\n", "t.csv"),
        (b"client,seconds\n", "t.csv"),
        (b"\xff\xfe", "t.csv"),
        (b"{}", "t.json"),
        (b'[{"client": 1, "seconds": [true]}]', "t.json"),
        (b'[{"client": 1}]', "t.json"),
        (b"[", "t.json"),
    ],
)
def test_a_malformed_trace_names_its_field(content: bytes, name: str) -> None:
    with pytest.raises(SpecInvalid) as refusal:
        latency.read_trace(content, name)
    assert list(refusal.value.fields) == ["latency.file"]


def world(share: float, clients: int = 12) -> dict[str, object]:
    there = presence.build(presence.Windows(period_s=20.0, share=share), clients=clients, seed=0)
    assert there is not None
    return {"available": there.available, "reachable_s": there.reachable_s}


@pytest.mark.parametrize("options", [fedavg.Options(cohort=3), fedbuff.Options(concurrency=3, buffer=2)])
def test_clients_start_inside_their_windows_only(options: fedavg.Options | fedbuff.Options) -> None:
    where = world(0.1)
    starts: list[tuple[int, float]] = []

    class Watched(Fleet):
        def start(self, client, ledger, version, now_s):  # type: ignore[no-untyped-def]
            starts.append((client, now_s))
            return super().start(client, ledger, version, now_s)

    from models_core import federated

    draw = latency.build(latency.HalfNormal(), sizes=[5] * 12, seed=0)
    plan = federated.plan(options, Watched([5] * 12, draw, 0, **where), steps=10)
    assert starts
    assert all(where["available"](client, now_s) for client, now_s in starts)
    assert balanced(plan)


@pytest.mark.parametrize("options", [fedavg.Options(cohort=3), fedbuff.Options(concurrency=3, buffer=2)])
def test_lost_tasks_are_booked_and_never_used(options: fedavg.Options | fedbuff.Options) -> None:
    lost = presence.losses(0.3, seed=0)
    plan = fed.schedule_of(options, [5] * 12, latency.HalfNormal(), 40, lost=lost)
    assert balanced(plan)
    assert 0.1 < plan.lost[-1] / plan.started[-1] < 0.5
    used = plan.counted
    pairs = zip(plan.client[used].tolist(), plan.participation[used].tolist(), strict=True)
    assert not any(lost(client, participation) for client, participation in pairs)


def test_a_deadline_closes_a_round_with_whom_it_has() -> None:
    times = [1.0, 5.0, 2.0]
    fleet = Fleet([1] * 3, lambda client, participation: times[client], 0)
    plan = fedavg.plan(fedavg.Options(cohort=3, deadline_s=3.0), fleet, steps=2)
    np.testing.assert_allclose(plan.clock_s, [3.0, 6.0])
    assert (plan.weight > 0).sum(axis=1).tolist() == [2, 2]
    np.testing.assert_allclose(plan.weight.sum(axis=1), 1.0)
    assert plan.late[-1] == 2


def test_a_deadline_that_nobody_meets_is_refused() -> None:
    fleet = Fleet([1] * 3, lambda client, participation: 5.0, 0)
    with pytest.raises(SpecInvalid) as refusal:
        fedavg.plan(fedavg.Options(cohort=3, deadline_s=3.0), fleet, steps=1)
    assert list(refusal.value.fields) == ["algorithm.deadline_s"]


def test_a_budget_of_simulated_time_ends_the_schedule() -> None:
    fleet = Fleet([1] * 3, lambda client, participation: 1.0, 0)
    plan = fedavg.plan(fedavg.Options(cohort=2), fleet, steps=100, until_s=7.5)
    assert plan.steps == 7
    with pytest.raises(SpecInvalid) as refusal:
        fedavg.plan(fedavg.Options(cohort=2), fleet, steps=100, until_s=0.5)
    assert list(refusal.value.fields) == ["time_budget_s"]


def test_samplers_draw_as_they_say() -> None:
    sizes = [1] * 10 + [3] * 10
    fleet = Fleet(sizes, lambda client, participation: 1.0, 0)
    uniform = np.bincount(np.concatenate([fleet.cohort(n, 4, 0.0) for n in range(1000)]), minlength=20)
    # Chi-square with 19 degrees of freedom: above 43.8 once in a thousand; without replacement it is smaller.
    assert float(((uniform - 200.0) ** 2 / 200.0).sum()) < 43.8
    weighted = np.concatenate([fleet.cohort(n, 1, 0.0, sampling="weighted") for n in range(2000)])
    assert (weighted >= 10).mean() == pytest.approx(0.75, abs=0.05)
    counts = [len(fleet.cohort(n, 4, 0.0, sampling="poisson")) for n in range(2000)]
    assert np.mean(counts) == pytest.approx(4.0, abs=0.2)
    assert np.var(counts) == pytest.approx(20 * 0.2 * 0.8, rel=0.15)
    epoch = [client for n in range(5) for client in fleet.cohort(n, 4, 0.0, sampling="epoch")]
    assert sorted(epoch) == list(range(20))


def test_example_caps_bound_the_weight_of_a_client() -> None:
    options = fedavg.Options(cohort=2, example_cap=10)
    assert options.weights([10, 1000]) == [0.5, 0.5]
    assert fedavg.Options(weighting="equal").weights([1, 3]) == [0.5, 0.5]
