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
# The authors' share for heads is made for steps of one size in a long training, as is the gamma of Sophia's, at which
# most entries are clipped.
EASED: dict[str, dict[str, Any]] = {"muon": {"adam_scale": 1.0}, "fd_son": {"delta": 10.0}, "sophia": {"gamma": 1.0}}
# Learning rates inside a sketch have another scale, and do not multiply the update where delta is beside them.
SCALE = {"rfd_son": 10.0, "fd_son": 10.0}
INSIDE = {"fd_son"}


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


def squares(params: Any) -> jax.Array:
    leaves = jax.tree.leaves(params)
    return sum((jnp.sum((leaf - 1) ** 2).astype(jnp.float32) for leaf in leaves), start=jnp.zeros(()))


def built(
    options: optim.OptimizerOptions, learning_rate: Any = None, loss: Any = squares
) -> optax.GradientTransformation:
    """With a loss at hand, which some optimizers differentiate once more."""
    made = optax.with_extra_args_support(optim.build(options, learning_rate))
    return optax.GradientTransformation(made.init, lambda g, state, p: made.update(g, state, p, obj_fn=loss))


def minimised(
    loss: Any, params: dict[str, jax.Array], options: optim.OptimizerOptions, *, lr: float, steps: int
) -> float:
    schedule = schedules.warmup_then_decay(lr, steps=steps, warmup_steps=0, decay="linear")
    transformation = built(options, schedule, loss)

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
    rates = SCALE.get(options.kind, 1.0) * np.array([0.003, 0.03, 0.3, 3.0])
    losses = [minimised(parabola, some_params(), options, lr=float(lr), steps=300) for lr in rates]
    assert np.nanmin(losses) < 1e-3


def test_descends_rosenbrocks_valley(options: optim.OptimizerOptions) -> None:
    params = {"w": jnp.full((1, 1), -1.2), "b": jnp.ones(1)}
    rates = SCALE.get(options.kind, 1.0) * np.array([0.0002, 0.002, 0.02, 0.2, 2.0])
    losses = [minimised(rosenbrock, params, options, lr=float(lr), steps=2000) for lr in rates]
    assert np.nanmin(losses) < LEFT_OF_ROSENBROCK.get(options.kind, 0.5)


def test_jitted_and_plain_updates_agree(options: optim.OptimizerOptions) -> None:
    transformation, params = built(options), some_params()
    grads = jax.grad(parabola)(params)
    plain, _ = transformation.update(grads, transformation.init(params), params)
    jitted, _ = jax.jit(transformation.update)(grads, transformation.init(params), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), plain, jitted)


def test_state_keeps_its_structure_shapes_and_dtypes(options: optim.OptimizerOptions) -> None:
    transformation, params = built(options), some_params()
    state = transformation.init(params)
    after = jax.eval_shape(lambda s: transformation.update(params, s, params)[1], state)
    before = jax.eval_shape(lambda: state)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert jax.tree.leaves(before) == jax.tree.leaves(after)


def test_parameters_keep_their_dtype(options: optim.OptimizerOptions) -> None:
    transformation, params = built(options), some_params(jnp.bfloat16)
    updates, _ = transformation.update(params, transformation.init(params), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(optax.apply_updates(params, updates))} == {jnp.dtype("bfloat16")}


def test_statistics_of_bfloat16_parameters_are_float32_and_stay_finite(options: optim.OptimizerOptions) -> None:
    transformation, params = built(options), some_params(jnp.bfloat16)
    update = jax.jit(transformation.update)
    state = transformation.init(params)
    for grads in (params, jax.tree.map(lambda leaf: leaf * 1e-4, params)):
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} <= {jnp.dtype("float32")}
    assert all(np.all(np.isfinite(np.asarray(leaf, np.float32))) for leaf in [*floats, *jax.tree.leaves(params)])


def test_resumes_bit_for_bit_from_a_snapshot(options: optim.OptimizerOptions) -> None:
    transformation, params = built(options), some_params()
    update = jax.jit(transformation.update)

    def advance(params: Any, state: Any, steps: range) -> tuple[Any, Any]:
        for step in steps:
            grads = jax.tree.map(lambda leaf: leaf + (1 + step), params)  # noqa: B023
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    unbroken, _ = advance(params, transformation.init(params), range(6))
    halfway, state = advance(params, transformation.init(params), range(3))
    restored = snapshot.from_arrays(snapshot.to_arrays(state), transformation.init(params))
    resumed, _ = advance(halfway, restored, range(3, 6))
    jax.tree.map(np.testing.assert_array_equal, resumed, unbroken)


def test_a_lone_array_is_a_tree_too(options: optim.OptimizerOptions) -> None:
    transformation, lone = built(options), jnp.ones((3, 2))
    update = jax.eval_shape(lambda p: transformation.update(p, transformation.init(p), p)[0], lone)
    assert update.shape == lone.shape


def test_order_of_tensors_does_not_matter(options: optim.OptimizerOptions) -> None:
    transformation, params = built(options), some_params()
    turned = {"z": params["b"], "y": params["w"]}
    one, _ = transformation.update(params, transformation.init(params), params)
    other, _ = transformation.update(turned, transformation.init(turned), turned)
    np.testing.assert_array_equal(one["w"], other["y"])
    np.testing.assert_array_equal(one["b"], other["z"])


def test_zero_gradients_change_nothing(options: optim.OptimizerOptions) -> None:
    transformation, params = built(options), some_params()
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, state = transformation.update(zeros, transformation.init(params), params)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(updates))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("options", sorted(set(NAMES) - INSIDE), indirect=True)
def test_learning_rate_scales_the_update(options: optim.OptimizerOptions) -> None:
    params = some_params()
    one, ten = (built(options, lr) for lr in (0.1, 1.0))
    small = one.update(params, one.init(params), params)[0]
    large = ten.update(params, ten.init(params), params)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a * 10, b, rtol=1e-5), small, large)


def test_options_say_what_they_are(options: optim.OptimizerOptions) -> None:
    assert optim.optimizers()[options.kind] is type(options)
    assert type(options).__doc__
