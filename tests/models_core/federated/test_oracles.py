"""Reductions and books that need two algorithms, or the draws behind a schedule, side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models_core import federated
from models_core.federated import fare_dust, feast_on_msg, fedadam, fedavg, fedbuff, fedprox
from models_core.federated.simulation import engine, latency, measures
from models_core.federated.simulation.schedule import Fleet, Schedule
from models_core.federated.simulation.uplink import Uplink
from support import federation as fed

SIZES = [6] * 20
SLOW = latency.PerClientPerExample(slow_share=0.25, pace_sigma=0.2)
ASKED = {"cohort": 3, "over_selection": 0.67}


def test_private_averaging_without_clip_and_noise_is_averaging() -> None:
    options = fedavg.Options(cohort=4, weighting="equal")
    schedule = fed.schedule_of(options, SIZES, latency.HalfNormal(), steps=4)
    plain = fed.simulate(fed.plan_of(options, SIZES), schedule, fed.examples(SIZES))
    uplink = Uplink(clip=1e9, noise=0.0, denominator=4.0)
    private = fed.simulate(fed.plan_of(options, SIZES, uplink=uplink), schedule.reweighted(1 / 4), fed.examples(SIZES))
    fed.assert_close(private.params, plain.params)
    assert all((found["unclipped"] == 4).all() for found in private.numbers)
    clipped = fed.simulate(
        fed.plan_of(options, SIZES, uplink=replace(uplink, clip=1e-3)), schedule.reweighted(1 / 4), fed.examples(SIZES)
    )
    # Four clipped changes of a fourth each: no step is longer than the clip.
    assert all((found["update_norm"] <= 1e-3 * (1 + 1e-5)).all() for found in clipped.numbers)
    assert fed.far_apart(clipped.params, plain.params)


def test_fare_dust_with_timely_teachers_is_distillation_from_old_models() -> None:
    options = fare_dust.Options(**ASKED, teachers=3, distill_weight=2.0, late_reports=False)
    schedule = fed.schedule_of(options, SIZES, SLOW, steps=8)
    assert schedule.teacher_age > 0
    data = fed.examples(SIZES)
    own = fed.simulate(fed.plan_of(options, SIZES), schedule, data)
    history = engine.Regulariser(2.0, options.temperature, "models")
    other = fed.simulate(fed.plan_of(fedavg.Options(**ASKED), SIZES, regulariser=history), schedule, data)
    fed.assert_close(own.params, other.params)
    untaught = fed.simulate(fed.plan_of(fedavg.Options(**ASKED), SIZES), schedule, data)
    assert fed.far_apart(own.params, untaught.params)


def test_fare_dust_sends_two_models_to_everyone_once_there_are_teachers() -> None:
    plan = fed.schedule_of(fare_dust.Options(**ASKED), SIZES, SLOW, steps=20)
    first = int(np.argmax((plan.teacher >= 0).any(axis=1)))
    down = measures.traffic(plan, 100, 100)["comm/download_bytes"]
    assert first > 0
    np.testing.assert_array_equal(down[:first], 100.0 * plan.started[:first])
    np.testing.assert_array_equal(np.diff(down[first:]), 2 * 100.0 * np.diff(plan.started[first:]))


def arrivals(plan: Schedule, step: int, place: int) -> float:
    """When the report of a place arrives: its round begins when the one before closes."""
    draw = latency.build(SLOW, sizes=SIZES, seed=0)
    version = int(plan.version[step, place])
    begin_s = float(plan.clock_s[version - 1]) if version else 0.0
    return begin_s + draw(int(plan.client[step, place]), int(plan.participation[step, place]))


def test_a_late_report_joins_once_in_the_round_in_which_it_arrives() -> None:
    plan = fed.schedule_of(feast_on_msg.Options(**ASKED), SIZES, SLOW, steps=40)
    late = np.argwhere(plan.late_weight > 0)
    assert len(late) > 10
    seen = {(int(plan.client[step, place]), int(plan.participation[step, place])) for step, place in late}
    assert len(seen) == len(late)
    for step, place in late.tolist():
        assert plan.version[step, place] < step
        assert plan.clock_s[step - 1] < arrivals(plan, step, place) <= plan.clock_s[step] + 1e-9


def test_a_closed_cohort_takes_no_more_and_none_before_it_arrives() -> None:
    options = fare_dust.Options(**ASKED, teachers=2)
    plan = fed.schedule_of(options, SIZES, SLOW, steps=40)
    used = 0
    for step in np.flatnonzero((plan.late_weight > 0).any(axis=1)).tolist():
        # A cohort's teacher is named by the step after it, and cannot be drawn before its last report has arrived.
        users = np.argwhere(plan.teacher == step + 1)
        heard = [arrivals(plan, step, place) for place in np.flatnonzero(plan.late_weight[step]).tolist()]
        for user, _ in users.tolist():
            assert plan.clock_s[user - 1] >= max(heard) - 1e-9
            used += 1
    assert used > 20


@pytest.mark.parametrize(
    "options", [fedprox.Options(**ASKED), fedadam.Options(**ASKED)], ids=lambda options: options.kind
)
def test_the_seed_alone_decides_cohorts_and_delays(options: Any) -> None:
    base, other = (fed.schedule_of(one, SIZES, SLOW, steps=12) for one in (fedavg.Options(**ASKED), options))
    assert base.fingerprint == other.fingerprint
    # The asynchronous clock meets the same delays for the same participation.
    draws: dict[tuple[int, int], float] = {}

    def noted(client: int, participation: int) -> float:
        drawn = latency.build(SLOW, sizes=SIZES, seed=0)(client, participation)
        assert draws.setdefault((client, participation), drawn) == drawn
        return drawn

    fleet = Fleet(SIZES, noted, 0)
    for one in (fedavg.Options(**ASKED), fedbuff.Options(concurrency=5, buffer=2), options):
        federated.plan(one, fleet, steps=10)


def test_dropped_reports_are_slow_clients_under_paces_and_anyone_under_half_normal() -> None:
    sizes, slow = [20] * 100, latency.slow_clients(latency.PerClientPerExample(slow_share=0.25), clients=100, seed=0)
    shares = {}
    for name, options in (
        ("paces", latency.PerClientPerExample(slow_share=0.25)),
        ("half-normal", latency.HalfNormal()),
    ):
        fleet = Fleet(sizes, latency.build(options, sizes=sizes, seed=0), 0)
        asked: list[int] = []
        whole = Fleet(sizes, lambda c, p, f=fleet, a=asked: (a.append(c), f.latency(c, p))[1], 0)
        plan = fedavg.plan(fedavg.Options(cohort=20, over_selection=0.5), whole, steps=100)
        dropped = np.bincount(asked, minlength=100) - np.bincount(plan.client.ravel(), minlength=100)
        shares[name] = dropped[sorted(slow)].sum() / dropped.sum()
    # 1,000 dropped reports, a quarter expected: standard error 0.014.
    assert abs(shares["half-normal"] - 0.25) < 0.07
    assert shares["paces"] > 0.5
