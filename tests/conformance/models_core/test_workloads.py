"""What every workload promises, for each that is found; and that every optimizer can be tuned on one compiled step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models_core import optim
from models_core.data.order import BatchOrder
from models_core.training import trials, workloads
from models_core.training.step import start
from models_core.training.workloads._options import WorkloadOptions
from models_core.training.workloads._problem import Problem

# Numbers of a trial are float32 in the compiled step, float64 before it is compiled otherwise.
ROUNDED = {"rtol": 2e-3, "atol": 2e-6}


@pytest.fixture(params=sorted(workloads.workloads()))
def options(request: pytest.FixtureRequest) -> WorkloadOptions:
    return workloads.workloads()[request.param]()


def test_a_problem_has_a_loss_for_each_example_and_a_gradient(options: WorkloadOptions) -> None:
    problem = workloads.build(options)
    assert options.task == type(options).model_fields["task"].default
    assert options.examples in (None, problem.examples)
    params = jax.jit(problem.init)(jax.random.key(0))
    rows = problem.order(0, 4).at(0)
    batch = {name: jnp.asarray(array[rows]) for name, array in problem.train.items()}
    values = jax.jit(problem.values)(params, batch)
    assert {value.shape for value in values.values()} == {(4,)}
    assert ("accuracy" in values) == options.has_accuracy
    loss, grads = jax.jit(jax.value_and_grad(problem.mean_loss))(params, problem.on_device(), rows)
    np.testing.assert_allclose(loss, np.mean(values["loss"]), rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads))
    assert bool(problem.test) != options.one_pass


def test_training_and_test_examples_do_not_overlap(options: WorkloadOptions) -> None:
    problem = workloads.build(options)
    rows = [
        {b"".join(array[i].tobytes() for array in part.values()) for i in range(len(next(iter(part.values()))))}
        for part in (problem.train, problem.test)
        if part
    ]
    # A handful of scanned digits are equal pixel by pixel, and short lines of source recur.
    assert len(set.intersection(*rows)) < 0.02 * problem.examples or options.one_pass


def least_squares() -> Problem:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 6)).astype(np.float32)

    def values(params: Any, examples: Any) -> dict[str, Any]:
        error = examples["x"] @ params["w"] + params["b"][None] - examples["y"]
        return {"loss": jnp.sum(error * error, axis=-1)}

    return Problem(
        init=lambda key: {"w": jax.random.normal(key, (6, 4)), "b": jnp.zeros(4)},
        values=values,
        train={"x": x, "y": (x @ generator.normal(size=(6, 4))).astype(np.float32)},
        test={},
    )


@pytest.mark.parametrize("name", sorted(optim.optimizers()))
def test_a_trial_computes_what_the_optimizer_does_with_its_numbers_compiled_in(name: str) -> None:
    from models_core.search.space import Range, Space

    problem, kind = least_squares(), optim.optimizers()[name]
    space = Space(eps=Range(low=1e-8, high=1e-2))
    fields = sorted(set(space.fields_of(kind).values()))
    shape = lambda count: 1.0 / (1 + count.astype(jnp.float32))  # noqa: E731
    runs = trials.Trials(problem, kind(), data=problem.on_device(), shape=shape, tuned=fields)
    point = {"lr": 0.01, "one_minus_beta1": 0.2, "one_minus_beta2": 0.1, "eps": 1e-3}
    for scale in (1.0, 0.5):
        settings = space.settings(kind, {role: scale * place for role, place in point.items()})
        options = kind.parse(kind().model_dump(mode="json") | settings)
        state, order = runs.begin(options, seed=1), problem.order(1, 16)
        lr = options.lr
        alone = optim.build(options, lambda count, lr=lr: lr * shape(count))
        expected = start(problem.init(jax.random.key(1)), alone)
        params, inner = expected.params, expected.opt_state
        advance = optax.with_extra_args_support(alone).update
        loss = problem.mean_loss
        update = jax.jit(lambda g, s, p, *b: advance(g, s, p, obj_fn=lambda q: loss(q, *b)))  # noqa: B023
        for step in range(3):
            state, _ = runs.step(state, options, order.at(step))
            batch = problem.on_device(), order.at(step)
            updates, inner = update(jax.grad(loss)(params, *batch), inner, params, *batch)
            params = jax.tree.map(jnp.add, params, updates)
        for found, wanted in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(found, wanted, **ROUNDED)


def test_an_order_without_shuffling_is_the_files() -> None:
    order = BatchOrder(0, 10, 3, shuffled=False)
    assert [order.at(step).tolist() for step in range(4)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 1, 2]]
