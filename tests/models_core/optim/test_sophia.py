"""Sophia against its paper and optax's form, step by step; its signs; and how it is given the loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from models_core import optim
from models_core.optim import torch as twins
from models_core.optim._probes import signs, words
from models_core.optim.sophia import LossNeeded, Options, diagonal
from models_core.optim.torch._probes import signs as torch_signs

# Rounding of float64 over a dozen steps.
EXACT = 1e-9
SIZE, STEPS = 7, 12
GENERATOR = np.random.default_rng(0)
ROOT = GENERATOR.normal(size=(SIZE, SIZE))
# Coupled, and with some negative curvature.
HESSIAN = (ROOT + ROOT.T) / 2 + np.eye(SIZE)
START = GENERATOR.normal(size=SIZE)


def quadratic(w: Any) -> Any:
    return w @ (jnp.asarray(HESSIAN) @ w) / 2


def signs_at(step: int, *, seed: int = 0, place: int = 0, size: int = SIZE) -> np.ndarray:
    """By whole numbers of Python, one entry after the other."""
    drawn = [words(seed, step, place, entry // 32, lambda x: x % 2**32) >> entry % 32 for entry in range(size)]
    return np.array([1 - 2 * (word & 1) for word in drawn], float)


def by_the_paper(options: Options, schedule: Callable[[int], float]) -> Iterator[np.ndarray]:
    """Algorithm 3, whose t counts from 1: curvature is estimated where t mod k = 1."""
    w, m, h = START.copy(), np.zeros(SIZE), np.zeros(SIZE)
    for t in range(1, STEPS + 1):
        g = HESSIAN @ w
        m = options.beta1 * m + (1 - options.beta1) * g
        if t % options.update_every == 1 % options.update_every:
            u = signs_at(t - 1)
            h = options.beta2 * h + (1 - options.beta2) * u * (HESSIAN @ u)
        rate = schedule(t - 1)
        w = w - rate * options.weight_decay * w
        w = w - rate * np.clip(m / np.maximum(options.gamma * h, options.eps), -options.rho, options.rho)
        yield w.copy()


def in_jax(transformation: optax.GradientTransformation, loss: Any = quadratic) -> Iterator[np.ndarray]:
    @jax.jit
    def step(w: Any, state: Any) -> Any:
        updates, state = transformation.update(jax.grad(loss)(w), state, w, obj_fn=loss)
        return optax.apply_updates(w, updates), state

    w = jnp.asarray(START)
    state = transformation.init(w)
    for _ in range(STEPS):
        w, state = step(w, state)
        yield np.asarray(w)


def closure_of(optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    return closure


def in_torch(**options: Any) -> Iterator[np.ndarray]:
    w, hessian = torch.nn.Parameter(torch.tensor(START)), torch.tensor(HESSIAN)
    optimizer = twins.Sophia([w], **options)
    closure = closure_of(optimizer, lambda: w @ hessian @ w / 2)
    for _ in range(STEPS):
        optimizer.step(closure)
        yield w.detach().numpy().copy()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("every", [1, 3, 10])
def test_every_step_is_that_of_algorithm_3(every: int) -> None:
    # Some entries are clipped, some are not.
    options = Options(lr=0.1, gamma=3.0, rho=0.7, update_every=every, weight_decay=0.05)
    expected = list(by_the_paper(options, lambda count: 0.1 / (1 + count)))
    falling = optim.build(options, lambda count: 0.1 / (1 + count.astype(float)))
    for ours, theirs in zip(in_jax(falling), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=EXACT)
    constant = list(by_the_paper(options, lambda _: 0.1))
    for ours, theirs in zip(in_torch(**options.model_dump(exclude={"kind"})), constant, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=EXACT)


@pytest.mark.usefixtures("float64")
def test_the_other_convention_is_optaxs_step_by_step() -> None:
    every = 3

    def estimate(_: Any, calls: Any, params: Any = None, obj_fn: Any = None) -> Any:
        probe = signs(5, every * calls, 0, params)
        return probe * jax.jvp(jax.grad(obj_fn), (params,), (probe,))[1], calls + 1

    same_signs = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((), jnp.int32), estimate)
    theirs = optax.contrib.sophia(
        0.1, b1=0.9, b2=0.8, eps=1e-8, gamma=0.5, weight_decay=0.05, clip_threshold=0.6, update_interval=every,
        hessian_diagonal_fn=same_signs,
    )  # fmt: skip
    options = Options(
        lr=0.1, beta1=0.9, beta2=0.8, eps=1e-8, gamma=0.5, weight_decay=0.05, rho=0.6, update_every=every, seed=5,
        convention="optax",
    )  # fmt: skip
    # optax raises floats to integer counts.
    with jax.numpy_dtype_promotion("standard"):
        expected = list(in_jax(theirs))
    for ours, wanted in zip(in_jax(optim.build(options)), expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=EXACT)
    for ours, wanted in zip(in_torch(**options.model_dump(exclude={"kind"})), expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=EXACT)


@pytest.mark.usefixtures("float64")
def test_estimates_are_the_diagonal_on_average_and_exact_where_nothing_is_coupled() -> None:
    params = {"a": jnp.asarray(START[:4]).reshape(2, 2), "b": jnp.asarray(START[4:])}

    def coupled(p: Any) -> Any:
        return quadratic(jnp.concatenate([p["a"].reshape(-1), p["b"]]))

    count = 4000
    found = jax.lax.map(lambda step: diagonal(coupled, params, seed=1, step=step), jnp.arange(count, dtype=jnp.int32))
    draws = np.concatenate([found["a"].reshape(count, 4), found["b"]], axis=1)
    # The variance of s_i (H s)_i is the sum of the squares of the row beside the diagonal.
    spread = np.sqrt((HESSIAN**2).sum(1) - np.diag(HESSIAN) ** 2)
    np.testing.assert_allclose(draws.std(0), spread, rtol=0.1)
    assert np.all(np.abs(draws.mean(0) - np.diag(HESSIAN)) < 4 * spread / np.sqrt(count))
    alone = diagonal(lambda p: jnp.sum(p["a"] ** 3) + jnp.sum(p["b"] ** 2), params, seed=1, step=jnp.int32(0))
    np.testing.assert_allclose(alone["a"], 6 * params["a"], rtol=EXACT)
    np.testing.assert_allclose(alone["b"], 2, rtol=EXACT)


@pytest.mark.parametrize("shape", [(), (7,), (0, 3), (33, 5)], ids=str)
def test_signs_are_the_same_in_both_frameworks_and_in_plain_numbers(shape: tuple[int, ...]) -> None:
    for seed, step, place in ((0, 0, 0), (3, 70, 2), (2**31 - 1, 2**31 - 1, 1000)):
        ours = jax.jit(lambda step, place=place, seed=seed: signs(seed, step, place, jnp.zeros(shape)))(jnp.int32(step))
        theirs = torch_signs(seed, step, place, torch.zeros(shape))
        plain = signs_at(step, seed=seed, place=place, size=ours.size)
        np.testing.assert_array_equal(ours.reshape(-1), plain)
        np.testing.assert_array_equal(theirs.flatten(), plain)


def test_signs_are_balanced_and_do_not_go_together() -> None:
    like = torch.zeros(1 << 14, dtype=torch.float64)
    keys = [(seed, step, place) for seed in (0, 1) for step in range(0, 80, 10) for place in range(4)]
    rows = torch.stack([torch_signs(*key, like) for key in keys]).numpy()
    within, between = 1 / np.sqrt(like.numel()), 1 / np.sqrt(len(keys))
    together = rows @ rows.T / like.numel() - np.eye(len(keys))
    # Five standard deviations: one of the two thousand numbers would pass them once in a thousand seeds.
    assert np.abs(together).max() < 5 * within
    assert np.abs(rows.mean(1)).max() < 5 * within
    assert np.abs(rows.mean(0)).max() < 6 * between
    for distance in (1, 2, 31, 32, 64, 4096):
        assert np.abs((rows[:, distance:] * rows[:, :-distance]).mean(1)).max() < 5.5 * within


@pytest.mark.usefixtures("float64")
def test_limits_are_sign_descent_and_newtons_method() -> None:
    scales = np.geomspace(0.1, 100, SIZE)
    separable = lambda w: jnp.sum(jnp.asarray(scales) * w * w) / 2  # noqa: E731
    newton = Options(lr=1.0, beta1=0.0, beta2=0.0, gamma=1.0, rho=1e6, update_every=1)
    np.testing.assert_allclose(next(in_jax(optim.build(newton), separable)), np.zeros(SIZE), atol=EXACT)
    signum = Options(lr=0.1, beta1=0.0, gamma=1e-300, eps=1e-300, rho=0.5)
    first = next(in_jax(optim.build(signum), separable))
    np.testing.assert_allclose(first, START - 0.05 * np.sign(START), rtol=EXACT)


def test_without_the_loss_both_frameworks_say_what_is_missing() -> None:
    transformation, w = optim.build(Options()), jnp.ones(3)
    state = transformation.init(w)
    with pytest.raises(LossNeeded, match="obj_fn=loss") as refusal:
        transformation.update(w, state, w)
    assert list(refusal.value.fields) == ["obj_fn"]
    with pytest.raises(LossNeeded) as refusal:
        transformation.update(w, state, obj_fn=jnp.sum)
    assert list(refusal.value.fields) == ["params"]

    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = twins.Sophia([parameter])
    (parameter**2).sum().backward()
    with pytest.raises(LossNeeded, match=r"step\(closure\)") as refusal:
        optimizer.step()
    assert list(refusal.value.fields) == ["closure"]
    with pytest.raises(LossNeeded) as refusal:
        optimizer.step(lambda: (parameter**2).sum())
    assert refusal.value.fields == {"closure": "Must call loss.backward()."}
    assert bool((parameter == 1).all())


def test_only_every_kth_step_differentiates_twice_and_the_others_need_no_closure() -> None:
    parameter = torch.nn.Parameter(torch.full((3,), 2.0))
    optimizer = twins.Sophia([parameter], update_every=3)
    twice = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (parameter**4).sum()
        loss.backward()
        twice.append(parameter.grad.requires_grad)
        return loss

    for _ in range(7):
        optimizer.step(closure)
        # Whoever looks at the gradients finds them as after any step.
        assert not parameter.grad.requires_grad
    assert twice == [True, False, False, True, False, False, True]
    closure()
    before = parameter.detach().clone()
    optimizer.step()
    assert bool((parameter != before).all())


def test_a_batch_in_parts_has_the_curvature_of_the_whole() -> None:
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def trained(parts: int) -> torch.Tensor:
        parameter = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
        optimizer = twins.Sophia([parameter], gamma=1.0, update_every=2)

        def closure() -> None:
            optimizer.zero_grad()
            for rows in x.chunk(parts):
                (torch.cosh(rows @ parameter).sum() / len(x)).backward()

        for _ in range(4):
            optimizer.step(closure)
        return parameter.detach()

    torch.testing.assert_close(trained(4), trained(1), rtol=EXACT, atol=EXACT)


def test_a_closure_may_use_fused_attention_and_leave_parameters_out() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    unused = torch.nn.Parameter(torch.ones(2))
    optimizer = twins.Sophia([*layer.parameters(), unused], lr=0.01, update_every=2)
    x = torch.randn(2, 5, 8)
    closure = closure_of(optimizer, lambda: (layer(x) - x).square().mean())
    losses = [float(optimizer.step(closure)) for _ in range(6)]
    assert losses[-1] < losses[0]
    assert unused not in optimizer.state
    assert all(
        bool(optimizer.state[p]["curvature"].any()) for p in [layer.linear1.weight, layer.self_attn.in_proj_weight]
    )


def test_a_linear_loss_has_no_curvature() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = twins.Sophia([parameter], lr=0.1)
    optimizer.step(closure_of(optimizer, lambda: parameter.sum()))
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.9))
    assert not bool(optimizer.state[parameter]["curvature"].any())


def test_an_estimate_that_is_not_finite_leaves_the_curvature_as_it_was() -> None:
    # The square root's gradient at its end is made finite; its second derivative is not.
    def loss(w: Any) -> Any:
        return jnp.sum(jnp.where(w > 0, jnp.sqrt(w), w) + w * w)

    transformation, w = optim.build(Options(beta2=0.0, update_every=1)), jnp.array([0.0, 1.0])
    _, state = transformation.update(jnp.ones(2), transformation.init(w), w, obj_fn=loss)
    np.testing.assert_allclose(state.curvature, [0.0, 2 - 0.25], rtol=1e-6)
    parameter = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    optimizer = twins.Sophia([parameter], beta2=0.0, update_every=1)
    parameter.grad = torch.ones(2)
    optimizer.learn({parameter: torch.tensor([float("nan"), 1.75])})
    optimizer.step()
    torch.testing.assert_close(optimizer.state[parameter]["curvature"], torch.tensor([0.0, 1.75]))


def test_groups_have_intervals_of_their_own_and_a_copy_goes_on_alone() -> None:
    often, seldom = (torch.nn.Parameter(torch.full((2,), 2.0)) for _ in range(2))
    optimizer = twins.Sophia(
        [{"params": [often], "update_every": 1}, {"params": [seldom], "update_every": 4}], beta2=0.5
    )
    loss = lambda: (often**2).sum() + (seldom**2).sum()  # noqa: E731
    for _ in range(3):
        optimizer.step(closure_of(optimizer, loss))
    # A half, and then what is left of it, of the curvature 2.
    torch.testing.assert_close(optimizer.state[often]["curvature"], torch.full((2,), 1.75))
    torch.testing.assert_close(optimizer.state[seldom]["curvature"], torch.full((2,), 1.0))
    another = copy.deepcopy(optimizer)
    moved = another.param_groups[0]["params"][0]
    another.step(closure_of(another, lambda: (moved**2).sum()))
    assert bool((moved != often).all())


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_weight_decay_is_decoupled(rate: float) -> None:
    w, flat = jnp.array([2.0, -4.0]), lambda w: jnp.sum(0 * w)
    transformation = optim.build(Options(weight_decay=0.5), rate)
    updates, _ = transformation.update(jnp.zeros(2), transformation.init(w), w, obj_fn=flat)
    np.testing.assert_allclose(updates, -rate * 0.5 * w, rtol=1e-6)


def test_state_is_two_numbers_a_parameter() -> None:
    assert optim.state_bytes(Options(), jnp.zeros((6, 5))) == 4 * (2 * 30 + 1)
    parameter = torch.nn.Parameter(torch.ones(6, 5))
    optimizer = twins.Sophia([parameter])
    optimizer.step(closure_of(optimizer, lambda: (parameter**2).sum()))
    assert optimizer.state_bytes() == 4 * 2 * 30
