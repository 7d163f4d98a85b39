"""What every algorithm reduces to, by running both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core import federated
from models_core.federated import (
    dp_ftrl,
    fare_dust,
    feast_on_msg,
    fedadagrad,
    fedadam,
    fedasync,
    fedavg,
    fedavgm,
    fedbuff,
    fedprox,
    fedyogi,
    scaffold,
)
from models_core.federated.modifiers import distillation
from models_core.federated.simulation import engine, latency
from support import federation as fed

SIZES = [6] * 8
ROUND = {"cohort": 3}
# A quarter of the clients is ten times as slow: late reports arrive some rounds later.
SLOW = latency.PerClientPerExample(slow_share=0.25, pace_sigma=0.2)


def averaged() -> fed.Outcome:
    return fed.run(fedavg.Options(**ROUND), SIZES, latency.HalfNormal())


def test_fedbuff_with_a_full_buffer_and_equal_delays_is_fedavg_exactly() -> None:
    one = fed.run(fedavg.Options(cohort=3), SIZES, latency.Constant())
    other = fed.run(fedbuff.Options(concurrency=3, buffer=3), SIZES, latency.Constant())
    fed.assert_equal(one.params, other.params)
    assert one.losses == other.losses


@pytest.mark.parametrize(
    "options",
    [
        fedavgm.Options(momentum=0.0, **ROUND),
        fedprox.Options(prox_mu=0.0, **ROUND),
        fare_dust.Options(distill_weight=0.0, over_selection=0.0, **ROUND),
        fare_dust.Options(teachers=0, over_selection=0.0, **ROUND),
        feast_on_msg.Options(over_selection=0.0, **ROUND),
        dp_ftrl.Options(noise=0.0, clip=1e6, sampling="uniform", **ROUND),
    ],
    ids=lambda options: options.kind,
)
def test_reduces_to_fedavg(options: Any) -> None:
    fed.assert_close(fed.run(options, SIZES, latency.HalfNormal()).params, averaged().params)


def test_scaffold_is_fedavg_in_its_first_round_and_its_control_stays_the_mean() -> None:
    first = fed.run(scaffold.Options(**ROUND), SIZES, latency.HalfNormal(), steps=1)
    fed.assert_close(first.params, fed.run(fedavg.Options(**ROUND), SIZES, latency.HalfNormal(), steps=1).params)
    later = fed.run(scaffold.Options(**ROUND), SIZES, latency.HalfNormal(), steps=4)
    means = jax.tree.map(lambda held: held.mean(axis=0), later.state.controls)
    fed.assert_close(means, later.state.rule, 1e-5)
    assert any(float(jnp.abs(leaf).max()) > 1e-3 for leaf in jax.tree.leaves(means))


def test_proximal_term_holds_clients_near() -> None:
    held = fed.run(fedprox.Options(prox_mu=2.0, **ROUND), SIZES, latency.HalfNormal(), steps=1)
    free = fed.run(fedavg.Options(**ROUND), SIZES, latency.HalfNormal(), steps=1)
    assert held.numbers[0]["update_norm"][0] < free.numbers[0]["update_norm"][0]


def change() -> Any:
    return {"w": jnp.array([0.5, -2.0, 0.1])}


def stepped(options: Any, times: int = 1) -> np.ndarray:
    rule = federated.build(options)
    params = {"w": jnp.zeros(3)}
    state = rule.init(params)
    for _ in range(times):
        sums = engine.Sums(change(), (), jnp.ones((), jnp.int32), jnp.zeros((), jnp.int32), fed.KEY)
        params, state = rule.apply(params, state, sums)
    return np.asarray(params["w"])


def test_adaptive_servers_by_hand() -> None:
    d = np.asarray(change()["w"])
    adam = fedadam.Options(server_lr=0.1, beta1=0.9, beta2=0.99, eps=1e-2)
    np.testing.assert_allclose(stepped(adam), 0.1 * 0.1 * d / (np.sqrt(0.01 * d * d) + 1e-2), rtol=1e-5)
    yogi = fedyogi.Options(server_lr=0.1, beta1=0.9, beta2=0.99, eps=1e-2)
    np.testing.assert_allclose(stepped(yogi), stepped(adam), rtol=1e-6)
    assert not np.allclose(stepped(yogi, 3), stepped(adam, 3), rtol=1e-6)
    adagrad = fedadagrad.Options(server_lr=0.1, eps=1e-2)
    twice = 0.1 * d / (np.abs(d) + 1e-2) + 0.1 * d / (np.sqrt(2) * np.abs(d) + 1e-2)
    np.testing.assert_allclose(stepped(adagrad, 2), twice, rtol=1e-5)
    flat = fedadam.Options(server_lr=50.0, beta1=0.0, beta2=0.0, eps=1e6)
    np.testing.assert_allclose(stepped(flat), 50.0 / 1e6 * d, rtol=1e-5)
    corrected = fedadam.Options(server_lr=0.1, eps=1e-6, bias_correction=True)
    np.testing.assert_allclose(stepped(corrected), 0.1 * np.sign(d), rtol=1e-4)


def test_yogi_is_adam_whenever_its_second_moment_is_the_square() -> None:
    # At beta2 = 0 both moments are the square of the change after every step.
    moments = {"server_lr": 0.1, "beta1": 0.9, "beta2": 0.0, "eps": 1e-2}
    np.testing.assert_allclose(
        stepped(fedyogi.Options(**moments), 3), stepped(fedadam.Options(**moments), 3), rtol=1e-6
    )


def test_fedasync_is_fedbuff_with_a_buffer_of_one_but_for_where_deltas_begin() -> None:
    begin = fed.run(
        fedasync.Options(concurrency=3, anchor="begin", server_lr=0.5), SIZES, latency.HalfNormal(), steps=6
    )
    buffered = fed.run(
        fedbuff.Options(concurrency=3, buffer=1, server_lr=0.5, max_staleness=100),
        SIZES,
        latency.HalfNormal(),
        steps=6,
    )
    fed.assert_equal(begin.params, buffered.params)
    present = fed.run(fedasync.Options(concurrency=3, server_lr=0.5), SIZES, latency.HalfNormal(), steps=6)
    assert fed.far_apart(present.params, begin.params)


def test_fare_dust_hears_late_reports_of_open_cohorts_only() -> None:
    options = fare_dust.Options(cohort=3, over_selection=0.67, teachers=2)
    plan = fed.schedule_of(options, [6] * 20, SLOW, steps=30)
    assert plan.client.shape[1] == options.clients_needed() == 6
    sums = plan.late_weight.sum(axis=1)
    closed = sums > 0
    np.testing.assert_allclose(sums[closed], 1, rtol=1e-9)
    assert (plan.late_weight[:, 3:] > 0).any(), "no late report ever counted"
    # No client is taught by a cohort that was not closed, nor before any was.
    taught = plan.teacher[plan.teacher >= 0] - 1
    assert closed[taught].all()
    assert (plan.teacher[0] == -1).all()
    assert (plan.teacher <= np.arange(30)[:, None]).all()
    assert plan.teachers[-1] == (plan.teacher >= 0).sum()


def test_fare_dust_learns_from_its_teachers() -> None:
    sizes = [6] * 20
    taught = fed.run(fare_dust.Options(cohort=3, over_selection=0.67, distill_weight=3.0), sizes, SLOW, steps=12)
    alone = fed.run(fare_dust.Options(cohort=3, over_selection=0.67, distill_weight=0.0), sizes, SLOW, steps=12)
    assert fed.far_apart(taught.params, alone.params)


def test_feast_auxiliary_model_in_its_limits() -> None:
    sizes = [6] * 20
    base = {"cohort": 3, "over_selection": 0.67}
    plain = fed.run(feast_on_msg.Options(beta=0.0, **base), sizes, SLOW, steps=10)
    fed.assert_close(plain.shown, plain.params)
    timely = fed.run(feast_on_msg.Options(beta=0.9, late_reports=False, **base), sizes, SLOW, steps=10)
    fed.assert_close(timely.shown, timely.params, 1e-5)
    late = fed.run(feast_on_msg.Options(beta=0.9, **base), sizes, SLOW, steps=10)
    assert fed.far_apart(late.shown, late.params)
    # aux_lr 0: the exponential moving average of the models.
    average = fed.run(feast_on_msg.Options(beta=0.9, aux_lr=0.0, **base), sizes, SLOW, steps=2)
    models = [fed.initial()]
    for steps in (1, 2):
        models.append(fed.run(feast_on_msg.Options(beta=0.9, aux_lr=0.0, **base), sizes, SLOW, steps=steps).params)
    expected = models[0]
    for model in models[1:]:
        expected = jax.tree.map(lambda a, w: 0.9 * a + (1 - 0.9) * w, expected, model)
    fed.assert_close(average.shown, expected, 1e-5)


def test_the_average_of_weights_warms_up() -> None:
    options = fedavg.Options(**ROUND)
    models = [fed.initial()]
    models += [fed.run(options, SIZES, latency.Constant(), steps=steps).params for steps in (1, 2)]
    expected = models[0]
    for count, model in enumerate(models[1:], 1):
        decay = min(0.99, (1 + count) / (10 + count))
        expected = jax.tree.map(lambda a, w, decay=decay: decay * a + (1 - decay) * w, expected, model)
    got = fed.run(options, SIZES, latency.Constant(), steps=2, average_decay=0.99)
    fed.assert_close(got.shown, expected)
    fed.assert_close(got.params, models[2])


@pytest.mark.parametrize("teacher", ["history", "drawn", "average"])
def test_distillation_from_the_past_changes_the_model_and_nothing_at_weight_zero(teacher: Any) -> None:
    base = fedavg.Options(**ROUND)
    data, schedule = fed.examples(SIZES), fed.schedule_of(base, SIZES, latency.Constant(), steps=6)
    options = distillation.Options(teacher=teacher, age=2, weight=2.0)
    assigned = distillation.assign(options, schedule, seed=0)
    assert (assigned.teacher[0] == -1).all()
    assert (assigned.teacher < assigned.version).all() or teacher == "average"
    plan = fed.plan_of(base, SIZES, regulariser=distillation.build(options))
    taught = fed.simulate(plan, assigned, data)
    plain = fed.simulate(fed.plan_of(base, SIZES), schedule, data)
    assert fed.far_apart(taught.params, plain.params)
    nothing = options.model_copy(update={"weight": 0.0})
    assert distillation.build(nothing) is None
    assert distillation.assign(nothing, schedule, seed=0) is schedule


def test_resuming_from_the_saved_state_changes_no_bit() -> None:
    options = fare_dust.Options(cohort=3, over_selection=0.67, server={"kind": "adam"}, server_lr=0.1)
    sizes = [6] * 20
    data, schedule = fed.examples(sizes), fed.schedule_of(options, sizes, SLOW, steps=8)
    plan = fed.plan_of(options, sizes, average_decay=0.9)
    whole = fed.simulate(plan, schedule, data, calls=(4, 8), length=4)
    half = fed.simulate(plan, schedule, data, calls=(4,), length=4)
    host = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), half.state)
    rest = fed.simulate(plan, schedule, data, calls=(8,), length=4, state=host, first=4)
    fed.assert_equal(whole.state, rest.state)


def test_a_constant_added_to_all_delays_shifts_the_clock_and_changes_no_weights() -> None:
    options = fedavg.Options(cohort=3, over_selection=0.4)
    one = fed.schedule_of(options, SIZES, latency.HalfNormal(), steps=6)
    other = fed.schedule_of(options, SIZES, latency.HalfNormal(least_s=2.0), steps=6)
    np.testing.assert_allclose(other.clock_s, one.clock_s + 2.0 * np.arange(1, 7))
    same = replace(other, clock_s=one.clock_s, wasted_s=one.wasted_s)
    assert same.fingerprint == one.fingerprint
