"""Codistillation in its limits, and a domain that can be learned from its own clients alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.data import synthetic_writers
from models_core.federated import fedavg
from models_core.federated.simulation import client, codistillation, engine, federation, latency, measures
from models_core.federated.simulation.codistillation import Exchange, Pair
from models_core.nn import mlp
from support import federation as fed

SIZES = [6] * 6
IMAGES = jax.random.normal(jax.random.key(5), (20, 5))
EXCHANGE = Exchange("periodic", period=2, warmup=0, steps=5, lr=0.5, batch_size=4, temperature=2.0)


def both(exchange: Exchange, *, swapped: bool = False, same: bool = False, steps: int = 4) -> tuple[Any, Any]:
    """The last models of a narrow and a wide network after four rounds; swapped: their roles are exchanged."""
    data = fed.examples(SIZES)
    options = fedavg.Options(cohort=3)
    plan = fed.plan_of(options, SIZES)
    schedule = fed.schedule_of(options, SIZES, latency.HalfNormal(), steps)
    widths = (4, 4) if same else (4, 9)
    inits = [mlp.init(jax.random.key(0 if same else place), [5, width, 3]) for place, width in enumerate(widths)]
    keys = [fed.KEY, fed.KEY if same else jax.random.key(8)]
    order = [1, 0] if swapped else [0, 1]
    states = [engine.start(plan, inits[place], schedule, keys[place]) for place in order]
    pair = Pair(states[0], states[1], jnp.array(jax.random.key_data(jax.random.key(9))))
    rows = engine.stretch(schedule, 0, steps, steps)
    arguments = (pair, data, data, IMAGES, rows, rows)
    pair, _ = codistillation.compile_advance(exchange, plan, plan, example=arguments)(*arguments)
    found = [engine.current(pair.small), engine.current(pair.large)]
    return found[order[0]], found[order[1]]


@pytest.fixture(scope="module")
def apart() -> tuple[Any, Any]:
    with jax.numpy_dtype_promotion("strict"):
        return both(replace(EXCHANGE, period=0))


@pytest.mark.parametrize(
    "exchange",
    [replace(EXCHANGE, variant="merged", gamma=0.0), replace(EXCHANGE, to_small=False, to_large=False)],
    ids=["gamma 0", "no direction"],
)
def test_without_exchange_both_are_federations_of_their_own(exchange: Exchange, apart: tuple[Any, Any]) -> None:
    fed.assert_equal(both(exchange), apart)


def test_a_federation_beside_another_is_the_federation_alone(apart: tuple[Any, Any]) -> None:
    options = fedavg.Options(cohort=3)
    plan = fed.plan_of(options, SIZES)
    schedule = fed.schedule_of(options, SIZES, latency.HalfNormal(), 4)
    state = engine.start(plan, mlp.init(jax.random.key(0), [5, 4, 3]), schedule, fed.KEY)
    fed.assert_close(fed.simulate(plan, schedule, fed.examples(SIZES), state=state).params, apart[0])


@pytest.mark.parametrize("variant", ["periodic", "merged"])
def test_the_order_of_the_two_changes_nothing(variant: Any, apart: tuple[Any, Any]) -> None:
    exchange = replace(EXCHANGE, variant=variant)
    found = both(exchange)
    fed.assert_close(found, both(exchange, swapped=True))
    assert fed.far_apart(found[0], apart[0])
    assert fed.far_apart(found[1], apart[1])


def test_one_way_moves_one_model_only(apart: tuple[Any, Any]) -> None:
    small, large = both(replace(EXCHANGE, period=4, to_large=False))
    assert fed.far_apart(small, apart[0])
    fed.assert_equal(large, apart[1])


def test_equal_models_have_nothing_to_tell_each_other() -> None:
    params = mlp.init(jax.random.key(0), [5, 4, 3])
    led = codistillation.distil(EXCHANGE, (fed.TASK, params), (fed.TASK, params), IMAGES, fed.KEY)
    fed.assert_close(led, params, 1e-6)


def test_distillation_moves_the_student_towards_the_teacher() -> None:
    student, teacher = (mlp.init(jax.random.key(place), [5, 6, 3]) for place in range(2))
    led = codistillation.distil(replace(EXCHANGE, steps=50), (fed.TASK, student), (fed.TASK, teacher), IMAGES, fed.KEY)

    def divergence(params: mlp.Params) -> float:
        answers, own = mlp.apply(teacher, IMAGES), mlp.apply(params, IMAGES)
        return float(jnp.mean(fed.TASK.divergences(answers, own, jnp.zeros(20, jnp.int32), 2.0)))

    assert divergence(led) < 0.5 * divergence(student)


def centrally_trained(x: np.ndarray, y: np.ndarray, side: int, classes: int) -> mlp.Params:
    """A classifier of all these examples, as one client with all of them."""
    data = client.gather_clients(x, y, [np.arange(len(y))])
    local = client.LocalTraining(0.2, 15, 16, client.bucket_lengths([len(y)], 16))
    params = mlp.init(jax.random.key(0), [side * side, 32, classes])
    train = jax.jit(lambda p: client.train(fed.TASK, local, client.Terms(), p, data, jnp.int32(0), fed.KEY)[0])
    trained: mlp.Params = train(params)
    return trained


def test_the_slow_domain_of_synthetic_writers_is_learned_from_its_own_clients_only() -> None:
    knobs = synthetic_writers.Knobs(writers=40, side=10, classes=8, tests=200)
    written = synthetic_writers.load(knobs, seed=0)
    whole = federation.of_writers(written, knobs.side, knobs.classes)
    slow = np.array(written.slow)
    accuracies = {}
    for name, chosen in (("fast", ~slow), ("all", np.ones(40, bool))):
        rows = np.concatenate([part for part, kept in zip(written.clients, chosen, strict=True) if kept])
        params = centrally_trained(written.x[rows], written.y[rows], knobs.side, knobs.classes)
        accuracies[name] = measures.build_evaluation(fed.TASK, whole, whole.slow_clients)(params)
    # Both know the fast domain; only who saw the slow one knows it.
    assert accuracies["fast"]["eval/other_accuracy"] > 0.6
    assert accuracies["fast"]["eval/straggler_accuracy"] < accuracies["all"]["eval/straggler_accuracy"] - 0.1


def test_synthetic_writers_follow_their_knobs() -> None:
    even, skewed = (
        synthetic_writers.load(synthetic_writers.Knobs(writers=30, side=8, label_alpha=alpha, size_sigma=sigma), seed=1)
        for alpha, sigma in ((1000.0, 0.0), (0.1, 1.0))
    )
    assert {len(part) for part in even.clients} == {30}
    assert np.std([len(part) for part in skewed.clients]) > 10

    def largest_share(written: synthetic_writers.SyntheticWriters) -> float:
        return float(np.mean([np.bincount(written.y[part]).max() / len(part) for part in written.clients]))

    assert largest_share(skewed) > largest_share(even) + 0.2
    again = synthetic_writers.load(synthetic_writers.Knobs(writers=30, side=8, label_alpha=0.1, size_sigma=1.0), seed=1)
    np.testing.assert_array_equal(again.x, skewed.x)
    assert 0 <= even.x.min() <= even.x.max() <= 1


@pytest.mark.parametrize("kind", ["in_domain", "out_of_domain", "noise"])
def test_server_images_are_pictures_without_labels(kind: str) -> None:
    images = synthetic_writers.unlabelled(synthetic_writers.Knobs(side=8), 45, kind=kind, seed=0)
    assert images.shape == (45, 64)
    assert 0 <= images.min() <= images.max() <= 1
