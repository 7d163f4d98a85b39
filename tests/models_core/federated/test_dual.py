"""Training by multiples of the examples instead of weights: the same models, wherever it is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.federated import fare_dust, fedavg, fedbuff, fedprox
from models_core.federated.simulation import client, dual, engine, latency
from models_core.nn import mlp
from support import federation as fed

SIZES = [6, 3, 8, 5, 7, 4, 8, 6]
SLOW = latency.PerClientPerExample(slow_share=0.25, pace_sigma=0.2)
# Over some steps that each round in another order.
CLOSE = 1e-5


def plans(options: Any, **parts: Any) -> tuple[engine.Plan, engine.Plan]:
    usual = fed.plan_of(options, SIZES, **parts)
    faster = replace(usual, task=dual.mlp_task())
    assert dual.pays(faster.task, faster.local, faster.terms, fed.initial(), fed.examples(SIZES))
    return usual, faster


def remembered(sizes: list[int], local: client.LocalTraining) -> client.ClientData:
    """Examples with their inner products, whatever room they take."""
    data = fed.examples(sizes)
    roomy = dual.remember(dual.mlp_task(), local, data._replace(x=jnp.tile(data.x, (100, 1))))
    assert roomy.gram is not None
    return data._replace(gram=roomy.gram)


@pytest.mark.parametrize(("sizes", "layers"), [([2, 7, 20], [5, 4, 4, 3]), ([1], [5, 3])])
def test_a_client_ends_with_the_same_model(sizes: list[int], layers: list[int]) -> None:
    data, params = fed.examples(sizes), mlp.init(jax.random.key(1), layers)
    local = client.LocalTraining(0.3, 3, 4, client.bucket_lengths(sizes, 4))
    work = (local, client.Terms(), params, data, jnp.asarray(len(sizes) - 1), fed.KEY)
    one, other = client.train(dual.mlp_task(), *work), dual.train(dual.mlp_task(), *work)
    fed.assert_close(one, other, CLOSE)
    assert fed.far_apart(one[0], params)
    held = remembered(sizes, local)
    fed.assert_close(other, dual.train(dual.mlp_task(), *work[:3], held, *work[4:]), CLOSE)


@pytest.mark.parametrize(
    "options",
    [fedbuff.Options(concurrency=4, buffer=2), fare_dust.Options(cohort=3, teachers=2)],
    ids=lambda options: options.kind,
)
def test_whole_runs_agree_with_the_usual_way(options: Any) -> None:
    schedule, data = fed.schedule_of(options, SIZES, SLOW), fed.examples(SIZES)
    plan, faster = plans(options)
    usual = fed.simulate(plan, schedule, data)
    for held in (data, remembered(SIZES, faster.local)):
        found = fed.simulate(faster, schedule, held)
        fed.assert_close(usual.params, found.params, CLOSE)
        np.testing.assert_allclose(usual.losses, found.losses, rtol=CLOSE)


def test_maps_and_interruptions_change_nothing() -> None:
    options = fedavg.Options(cohort=4)
    schedule, data = fed.schedule_of(options, SIZES, SLOW), fed.examples(SIZES)
    _, plan = plans(options)
    scan = fed.simulate(plan, schedule, data, length=5)
    fed.assert_close(scan.params, fed.simulate(replace(plan, chunk=4), schedule, data).params)
    begun = fed.simulate(plan, schedule, data, calls=(2,), length=5)
    resumed = fed.simulate(plan, schedule, data, calls=(5,), length=5, first=2, state=begun.state)
    fed.assert_equal(scan.params, resumed.params)


def test_it_is_left_alone_where_it_would_not_pay_or_not_be_the_same() -> None:
    task, params, data = dual.mlp_task(), fed.initial(), fed.examples(SIZES)
    local = client.LocalTraining(0.1, 1, 4, (8,))
    long = replace(local, lengths=(400,))
    assert dual.pays(task, local, client.Terms(), params, data)
    assert not dual.pays(task, long, client.Terms(), params, data)
    assert not dual.pays(task, local, fed.plan_of(fedprox.Options(prox_mu=0.1), SIZES).terms, params, data)
    assert not dual.pays(client.Task(mlp.apply), local, client.Terms(), params, data)


def test_inner_products_are_remembered_where_they_take_no_more_room_than_the_examples() -> None:
    data, local = fed.examples([4, 4, 2]), client.LocalTraining(0.1, 1, 4, (4,))
    found = dual.remember(dual.mlp_task(), local, data).gram
    assert found is not None
    own = np.asarray(data.x[8:10])[[0, 1, 0, 0]]
    np.testing.assert_allclose(found[2], own @ own.T, rtol=1e-5)
    assert dual.remember(dual.mlp_task(), replace(local, lengths=(5,)), data).gram is None
    assert dual.remember(client.Task(mlp.apply), local, data).gram is None
