"""What every optimizer promises, for each that is found."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models_core import optim
from models_core.training import schedules, snapshot

NAMES = sorted(optim.optimizers())
# Loss to reach from 24.2; the valley's floor far from the minimum lies at about 4. The steps of OGD die out by design:
# it comes to the floor but, in this many steps, not along it.
LEFT_OF_ROSENBROCK = {"ogd": 4.2}
# The authors' share for heads is made for steps of one size in a long training.
EASED: dict[str, dict[str, Any]] = {"muon": {"adam_scale": 1.0}}


@pytest.fixture(params=NAMES)
def options(request: pytest.FixtureRequest) -> optim.OptimizerOptions:
    """The defaults, without weight decay."""
    declared = optim.optimizers()[request.param]
    still = {"weight_decay": 0.0} if "weight_decay" in declared.model_fields else {}
    return declared(**still | EASED.get(request.param, {}))


def parabola(params: dict[str, jax.Array]) -> jax.Array:
    return jnp.sum((params["w"] - 1) ** 2) + 3 * jnp.sum((params["b"] + 2) ** 2)


def rosenbrock(params: dict[str, jax.Array]) -> jax.Array:
    x, y = params["w"][0, 0], params["b"][0]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def minimised(
    loss: Any, params: dict[str, jax.Array], options: optim.OptimizerOptions, *, lr: float, steps: int
) -> float:
    schedule = schedules.warmup_then_decay(lr, steps=steps, warmup_steps=0, decay="linear")
    transformation = optim.build(options, schedule)

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        params, state = carry
        updates, state = transformation.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=steps))(
        (params, transformation.init(params))
    )
    return float(loss(params))


def some_params(dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    return {"w": jnp.full((3, 2), 5.0, dtype), "b": jnp.zeros(2, dtype)}


def test_finds_the_bottom_of_a_parabola(options: optim.OptimizerOptions) -> None:
    losses = [minimised(parabola, some_params(), options, lr=lr, steps=300) for lr in (0.003, 0.03, 0.3, 3.0)]
    assert np.nanmin(losses) < 1e-3


def test_descends_rosenbrocks_valley(options: optim.OptimizerOptions) -> None:
    params = {"w": jnp.full((1, 1), -1.2), "b": jnp.ones(1)}
    losses = [minimised(rosenbrock, params, options, lr=lr, steps=2000) for lr in (0.0002, 0.002, 0.02, 0.2, 2.0)]
    assert np.nanmin(losses) < LEFT_OF_ROSENBROCK.get(options.kind, 0.5)


def test_jitted_and_plain_updates_agree(options: optim.OptimizerOptions) -> None:
    transformation, params = optim.build(options), some_params()
    grads = jax.grad(parabola)(params)
    plain, _ = transformation.update(grads, transformation.init(params), params)
    jitted, _ = jax.jit(transformation.update)(grads, transformation.init(params), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), plain, jitted)


def test_state_keeps_its_structure_shapes_and_dtypes(options: optim.OptimizerOptions) -> None:
    transformation, params = optim.build(options), some_params()
    state = transformation.init(params)
    after = jax.eval_shape(lambda s: transformation.update(params, s, params)[1], state)
    before = jax.eval_shape(lambda: state)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert jax.tree.leaves(before) == jax.tree.leaves(after)


def test_state_survives_a_snapshot_bit_for_bit(options: optim.OptimizerOptions) -> None:
    transformation, params = optim.build(options), some_params()
    state = transformation.update(params, transformation.init(params), params)[1]
    restored = snapshot.from_arrays(snapshot.to_arrays(state), transformation.init(params))
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_parameters_keep_their_dtype(options: optim.OptimizerOptions) -> None:
    transformation, params = optim.build(options), some_params(jnp.bfloat16)
    updates, _ = transformation.update(params, transformation.init(params), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(optax.apply_updates(params, updates))} == {jnp.dtype("bfloat16")}


def test_zero_gradients_change_nothing(options: optim.OptimizerOptions) -> None:
    transformation, params = optim.build(options), some_params()
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, state = transformation.update(zeros, transformation.init(params), params)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(updates))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


def test_learning_rate_scales_the_update(options: optim.OptimizerOptions) -> None:
    params = some_params()
    one, ten = (optim.build(options, lr) for lr in (0.1, 1.0))
    small = one.update(params, one.init(params), params)[0]
    large = ten.update(params, ten.init(params), params)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a * 10, b, rtol=1e-5), small, large)


def test_options_say_what_they_are(options: optim.OptimizerOptions) -> None:
    assert optim.optimizers()[options.kind] is type(options)
    assert type(options).__doc__
