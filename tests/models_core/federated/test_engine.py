"""The compiled engine against a plain loop, its inner maps against each other, and calls against one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models_core.federated import fedavg, fedbuff, scaffold
from models_core.federated.simulation import client, engine, inner_map, latency
from models_core.nn import mlp
from support import federation as fed

ROOT = Path(__file__).parents[3]
RAGGED = [3, 9, 5, 12, 4, 7]


@jax.jit
def gradient(params: mlp.Params, x: jax.Array, y: jax.Array) -> mlp.Params:
    def loss(p: mlp.Params) -> jax.Array:
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(mlp.apply(p, x), y))

    return jax.grad(loss)(params)


@jax.jit
def moved(params: mlp.Params, direction: mlp.Params, factor: jax.Array) -> mlp.Params:
    return jax.tree.map(lambda p, d: p + factor * d, params, direction)


def by_hand(params: mlp.Params, data: client.ClientData, who: int, participation: int) -> mlp.Params:
    """Two epochs of SGD over a client's own examples, without masks."""
    size, begin = int(data.size[who]), int(data.begin[who])
    key = jax.random.fold_in(jax.random.fold_in(fed.KEY, who), participation)
    for epoch in range(2):
        order = np.argsort(np.asarray(jax.random.uniform(jax.random.fold_in(key, epoch), (size,))), kind="stable")
        for first in range(0, size, 4):
            rows = np.asarray(data.rows)[begin + order[first : first + 4]]
            params = moved(params, gradient(params, data.x[rows], data.y[rows]), jnp.float32(-0.2))
    return params


def test_engine_matches_a_plain_loop() -> None:
    sizes = [3, 9, 5, 8]
    data = fed.examples(sizes)
    options = fedbuff.Options(concurrency=3, buffer=2, staleness_exponent=1.0, server_lr=0.7)
    schedule = fed.schedule_of(options, sizes, latency.HalfNormal(), steps=3)
    assert schedule.staleness.max() > 0
    got = fed.simulate(fed.plan_of(options, sizes), schedule, data)
    models = [fed.initial()]
    for step in range(3):
        model = models[-1]
        for place in range(2):
            begin = models[schedule.version[step, place]]
            end = by_hand(begin, data, int(schedule.client[step, place]), int(schedule.participation[step, place]))
            weight = jnp.float32(0.7 * schedule.weight[step, place])
            model = moved(model, moved(end, begin, jnp.float32(-1)), weight)
        models.append(model)
    fed.assert_close(got.params, models[-1])


def test_cutting_a_run_into_calls_changes_no_bit() -> None:
    options = fedbuff.Options(concurrency=4, buffer=2)
    data, schedule = fed.examples(RAGGED), fed.schedule_of(options, RAGGED, latency.HalfNormal(), steps=7)
    assert schedule.history > 1
    plan = fed.plan_of(options, RAGGED)
    whole = fed.simulate(plan, schedule, data, calls=(3, 6, 7), length=3)
    parts = fed.simulate(plan, schedule, data, calls=(1, 3, 4, 5, 7), length=3)
    fed.assert_equal(whole.params, parts.params)
    assert whole.losses == parts.losses


@pytest.mark.parametrize("chunk", [2, 4])
@pytest.mark.parametrize("options", [fedavg.Options(cohort=4), scaffold.Options(cohort=4)], ids=["fedavg", "scaffold"])
def test_scan_chunks_and_vmap_agree(options: fedavg.Options | scaffold.Options, chunk: int) -> None:
    scanned = fed.run(options, RAGGED, latency.HalfNormal(), steps=3)
    mapped = fed.run(options, RAGGED, latency.HalfNormal(), steps=3, chunk=chunk)
    fed.assert_close(scanned.state.ring, mapped.state.ring)
    fed.assert_close(scanned.state.controls, mapped.state.controls, 1e-5)


def test_a_chunk_that_does_not_divide_the_cohort_is_padded() -> None:
    options = fedavg.Options(cohort=3)
    scanned = fed.run(options, RAGGED, latency.HalfNormal(), steps=3)
    fed.assert_close(scanned.params, fed.run(options, RAGGED, latency.HalfNormal(), steps=3, chunk=2).params)


def test_the_bucket_of_a_client_changes_no_bit() -> None:
    options = fedavg.Options(cohort=4)
    one = fed.run(options, RAGGED, latency.HalfNormal(), lengths=(12,))
    three = fed.run(options, RAGGED, latency.HalfNormal(), lengths=(4, 8, 12))
    long = fed.run(options, RAGGED, latency.HalfNormal(), lengths=(40,))
    fed.assert_equal(one.params, three.params)
    fed.assert_equal(one.params, long.params)


def test_buckets_split_the_clients_evenly_into_whole_batches() -> None:
    lengths = client.bucket_lengths([3, 4, 5, 6, 30, 31], 4)
    assert lengths == (4, 8, 32)
    assert client.bucket_lengths([5, 5, 5], 4) == (8,)


def test_order_of_reports_changes_nothing_but_rounding() -> None:
    options = fedavg.Options(cohort=4)
    data, schedule = fed.examples(RAGGED), fed.schedule_of(options, RAGGED, latency.Constant(), steps=2)
    plan = fed.plan_of(options, RAGGED)
    one = fed.simulate(plan, schedule, data)
    fed.assert_close(one.params, fed.simulate(plan, fed.with_rows_turned(schedule), data).params)


def test_one_client_with_all_data_in_one_batch_is_gradient_descent() -> None:
    data = fed.examples([4])
    got = fed.run(fedavg.Options(cohort=1), [4], latency.Constant(), steps=3)
    params = fed.initial()
    for _ in range(3 * 2):
        params = moved(params, gradient(params, data.x, data.y), jnp.float32(-0.2))
    fed.assert_close(got.params, params)


def test_examples_are_not_copied_for_a_fleet_of_many_thousands() -> None:
    sizes = [1 + number % 7 for number in range(10_000)]
    data = fed.examples(sizes)
    assert data.x.shape == (sum(sizes), 5)
    options = fedbuff.Options(concurrency=50, buffer=10)
    schedule = fed.schedule_of(options, sizes, latency.LogNormal(), steps=4)
    outcome = fed.simulate(fed.plan_of(options, sizes), schedule, data)
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(outcome.state))
    model = sum(leaf.nbytes for leaf in jax.tree.leaves(outcome.params))
    assert kept <= model * (schedule.history + 1)
    assert all(np.isfinite(outcome.losses))


def test_seeds_side_by_side_are_the_seeds_one_by_one() -> None:
    options = fedavg.Options(cohort=3)
    plan = fed.plan_of(options, RAGGED)
    data = fed.examples(RAGGED)
    schedules = [
        fed.schedule_of(options, RAGGED, latency.HalfNormal(sigma_s=sigma_s), steps=3) for sigma_s in (1.0, 2.0)
    ]
    keys = [jax.random.key(number) for number in range(2)]
    alone = []
    for schedule, key in zip(schedules, keys, strict=True):
        state = engine.start(plan, fed.initial(), schedule, key)
        alone.append(fed.simulate(plan, schedule, data, state=state).params)
    states = [engine.start(plan, fed.initial(), schedule, key) for schedule, key in zip(schedules, keys, strict=True)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    reports = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(engine.stretch(schedule, 0, 3, 3) for schedule in schedules)
    )
    shared = data._replace(**{name: jnp.stack([getattr(data, name)] * 2) for name in ("rows", "begin", "size")})
    advance = engine.compile_advance(plan, example=(stacked, shared, reports), side_by_side=True)
    state, numbers = advance(stacked, shared, reports)
    assert numbers["loss"].shape == (2, 3)
    for place, params in enumerate(alone):
        one = jax.tree.map(lambda leaf, place=place: leaf[place], state)
        fed.assert_close(engine.current(one), params)


def test_the_fastest_inner_map_is_one_that_was_measured() -> None:
    options = fedavg.Options(cohort=4)
    schedule = fed.schedule_of(options, RAGGED, latency.Constant(), steps=2)
    state = engine.start(fed.plan_of(options, RAGGED), fed.initial(), schedule, fed.KEY)
    chosen, seconds = inner_map.fastest_chunk(
        lambda chunk: fed.plan_of(options, RAGGED, chunk=chunk), (state, fed.examples(RAGGED), schedule), [1, 4]
    )
    assert set(seconds) == {1, 4}
    assert seconds[chosen] == min(seconds.values())


DEVICES = """
import jax
from support import federation as fed
from models_core.federated import fedavg, scaffold
from models_core.federated.simulation import latency
assert len(jax.devices()) == 2
for options in (fedavg.Options(cohort=3), scaffold.Options(cohort=3)):
    sizes = [3, 9, 5, 12, 4, 7]
    one = fed.run(options, sizes, latency.HalfNormal(), steps=2)
    two = fed.run(options, sizes, latency.HalfNormal(), steps=2, devices=2)
    fed.assert_close(one.state.ring, two.state.ring)
    fed.assert_close(one.state.controls, two.state.controls, 1e-5)
"""


def test_clients_spread_over_devices_give_the_same_model() -> None:
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "JAX_PLATFORMS": "cpu",
    }
    result = subprocess.run(
        [sys.executable, "-c", DEVICES], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
