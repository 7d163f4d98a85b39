"""The compiled engine against a plain loop, and the reductions between algorithms."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models_core import federated
from models_core.federated import fedavg, fedbuff
from models_core.federated.simulation import engine, latency
from models_core.federated.simulation.schedule import Fleet, Schedule
from models_core.nn import mlp

# Rounding of float32 sums in another order, over a few server steps.
CLOSE = 2e-6
KEY = jax.random.key(3)


def losses(params: mlp.Params, x: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(mlp.apply(params, x), y)


@jax.jit
def gradient(params: mlp.Params, x: jax.Array, y: jax.Array) -> mlp.Params:
    return jax.grad(lambda p: jnp.mean(losses(p, x, y)))(params)


@jax.jit
def moved(params: mlp.Params, direction: mlp.Params, factor: jax.Array) -> mlp.Params:
    return jax.tree.map(lambda p, d: p + factor * d, params, direction)


def clients(sizes: list[int], batch_size: int = 4) -> engine.ClientData:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(sum(sizes), 5)).astype(np.float32)
    y = generator.integers(0, 3, sum(sizes)).astype(np.int32)
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    return engine.stack_clients(x, y, parts, batch_size)


def simulate(
    schedule: Schedule, data: engine.ClientData, *, calls: tuple[int, ...], length: int, server_lr: float = 1.0
) -> tuple[mlp.Params, list[float]]:
    """Run the schedule in calls that end after the given steps; returns the last model and every step's loss."""
    state = engine.start(mlp.init(jax.random.key(0), [5, 4, 3]), schedule.history)
    local = engine.LocalTraining(lr=0.2, epochs=2, batch_size=4)
    example = (state, data, engine.stretch(schedule, 0, 1, length))
    advance = engine.compile_advance(losses, local, server_lr=server_lr, key=KEY, example=example)
    seen: list[float] = []
    for first, last in zip((0, *calls[:-1]), calls, strict=True):
        state, numbers = advance(state, data, engine.stretch(schedule, first, last, length))
        seen += np.asarray(numbers["loss"])[: last - first].tolist()
    return engine.current(state), seen


def plan(options: federated.AnyAlgorithm, sizes: list[int], delays: object, steps: int = 5) -> Schedule:
    return federated.plan(options, Fleet(sizes, latency.build(delays, sizes=sizes, seed=0), 0), steps=steps)


def leaves(params: mlp.Params) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


def assert_equal(one: mlp.Params, other: mlp.Params) -> None:
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(one: mlp.Params, other: mlp.Params) -> None:
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=CLOSE)


def test_fedbuff_with_a_full_buffer_and_equal_delays_is_fedavg_exactly() -> None:
    sizes = [6] * 8
    data = clients(sizes)
    sync = plan(fedavg.Options(cohort=3), sizes, latency.Constant())
    buffered = plan(fedbuff.Options(concurrency=3, buffer=3), sizes, latency.Constant())
    one, one_losses = simulate(sync, data, calls=(5,), length=5)
    other, other_losses = simulate(buffered, data, calls=(5,), length=5)
    assert_equal(one, other)
    assert one_losses == other_losses


def test_cutting_a_run_into_calls_changes_no_bit() -> None:
    sizes = [3, 9, 5, 12, 4, 7]
    data = clients(sizes)
    schedule = plan(fedbuff.Options(concurrency=4, buffer=2), sizes, latency.HalfNormal(), steps=7)
    assert schedule.history > 1
    whole, whole_losses = simulate(schedule, data, calls=(3, 6, 7), length=3)
    parts, part_losses = simulate(schedule, data, calls=(1, 3, 4, 5, 7), length=3)
    assert_equal(whole, parts)
    assert whole_losses == part_losses


def test_engine_matches_a_plain_loop() -> None:
    sizes = [3, 9, 5, 8]
    data = clients(sizes)
    options = fedbuff.Options(concurrency=3, buffer=2, staleness_exponent=1.0)
    schedule = plan(options, sizes, latency.HalfNormal(), steps=3)
    assert schedule.staleness.max() > 0
    got, _ = simulate(schedule, data, calls=(3,), length=3, server_lr=0.7)
    models = [mlp.init(jax.random.key(0), [5, 4, 3])]
    for step in range(3):
        model = models[-1]
        for client, version, participation, weight in zip(
            schedule.client[step],
            schedule.version[step],
            schedule.participation[step],
            schedule.weight[step],
            strict=True,
        ):
            begin = models[version]
            end = by_hand(begin, data, int(client), int(participation))
            model = moved(model, moved(end, begin, jnp.float32(-1)), jnp.float32(0.7 * weight))
        models.append(model)
    assert_close(got, models[-1])


def by_hand(params: mlp.Params, data: engine.ClientData, client: int, participation: int) -> mlp.Params:
    """Two epochs of SGD over a client's own examples, without padding or masks."""
    size = int(data.size[client])
    key = jax.random.fold_in(jax.random.fold_in(KEY, client), participation)
    for epoch in range(2):
        draws = np.asarray(jax.random.uniform(jax.random.fold_in(key, epoch), (data.y.shape[1],)))
        order = np.argsort(draws[:size], kind="stable")
        for begin in range(0, size, 4):
            rows = order[begin : begin + 4]
            x, y = np.asarray(data.x[client])[rows], np.asarray(data.y[client])[rows]
            params = moved(params, gradient(params, jnp.asarray(x), jnp.asarray(y)), jnp.float32(-0.2))
    return params


def test_padding_changes_nothing_but_rounding() -> None:
    sizes = [6, 6, 6, 6]
    data = clients(sizes)
    wide = engine.ClientData(
        jnp.pad(data.x, ((0, 0), (0, 8), (0, 0)), constant_values=99.0), jnp.pad(data.y, ((0, 0), (0, 8))), data.size
    )
    state = engine.start(mlp.init(jax.random.key(0), [5, 4, 3]), 1)
    schedule = plan(fedavg.Options(cohort=2), sizes, latency.Constant(), steps=1)
    # One batch that holds a whole client, so that the order inside does not matter.
    local = engine.LocalTraining(lr=0.2, epochs=1, batch_size=8)
    reports = engine.stretch(schedule, 0, 1, 1)
    results = []
    for padded in (data, wide):
        begin = jax.tree.map(jnp.array, state)
        advance = engine.compile_advance(losses, local, server_lr=1.0, key=KEY, example=(begin, padded, reports))
        results.append(engine.current(advance(begin, padded, reports)[0]))
    assert_close(*results)


def test_order_of_reports_changes_nothing_but_rounding() -> None:
    sizes = [5, 6, 7, 8]
    data = clients(sizes)
    schedule = plan(fedavg.Options(cohort=4), sizes, latency.Constant(), steps=2)
    turned = replace(
        schedule,
        **{name: getattr(schedule, name)[:, ::-1] for name in ("client", "version", "participation", "weight")},
    )
    assert_close(simulate(schedule, data, calls=(2,), length=2)[0], simulate(turned, data, calls=(2,), length=2)[0])


def test_one_client_with_all_data_in_one_batch_is_gradient_descent() -> None:
    data = clients([4])
    schedule = plan(fedavg.Options(cohort=1), [4], latency.Constant(), steps=3)
    got, _ = simulate(schedule, data, calls=(3,), length=3)
    params = mlp.init(jax.random.key(0), [5, 4, 3])
    for _ in range(3 * 2):
        params = moved(params, gradient(params, data.x[0], data.y[0]), jnp.float32(-0.2))
    assert_close(got, params)


@pytest.mark.parametrize("batch_size", [4, 5])
def test_stacking_pads_to_whole_batches(batch_size: int) -> None:
    data = clients([3, 9], batch_size)
    assert data.x.shape[1] % batch_size == 0
    np.testing.assert_array_equal(data.size, [3, 9])
