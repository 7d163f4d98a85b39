"""What every PyTorch twin promises, for each optimizer that is found: the same numbers as in JAX first of all."""

from __future__ import annotations

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from models_core import optim
from models_core.errors import SpecInvalid
from models_core.optim import torch as twins
from models_core.optim.torch._twin import Twin, UnsupportedParameter

CLASSES = {cls.kind(): cls for cls in vars(twins).values() if isinstance(cls, type) and issubclass(cls, Twin)}
SHAPES = {"scalar": (), "vector": (7,), "matrix": (6, 5), "unit": (1, 4), "kernel": (3, 2, 2, 4), "empty": (0, 3)}
# float64, one step after the other from the same gradients.
STEPWISE = 1e-9
# What makes the two comparable: see `options_of`.
LIKE: dict[str, dict[str, Any]] = {
    "muon": {"outputs": "last"},
    "sonew": {"order": "row_major", "eps": 1e-4},
    "shampoo": {"epsilon": 1e-4},
}
# The update that moves parameters first, if it is not the first one.
FIRST_MOVE = {"soap": 2}
# How much farther the first move goes with twice the learning rate, if not twice: there delta stands beside it, and all
# of the gradient of norm^2 650 lies within the sketch.
FASTER = {"fd_son": (650 / 0.01 + 1) / (650 / 0.02 + 1)}
# Options that change what is computed, beside the defaults.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{"nesterov": True, "weight_decay": 0.1}, {"momentum": 0.0}],
    "adafactor": [{"min_factored": 2, "beta1": 0.9, "weight_decay": 0.1}, {"relative": False, "clip": 0.5}],
    "adagrad": [{"delta": 0.1}],
    "fd_son": [{"rank": 2, "delta": 0.1}],
    "ada_fd": [{"rank": 2, "delta": 0.1}],
    "muon": [
        {"nesterov": False, "scale": "rms", "weight_decay": 0.1, "adam_for": "kernel"},
        {"outputs": "first", "scale": "none", "iterations": 3},
    ],
    "rfd_son": [{"variant": "deep", "rank": 2, "delta": 0.1, "weight_decay": 0.1}, {"rank": 2, "delta": 0.01}],
    "soap": [
        {"update_every": 1, "weight_decay": 0.1, "merge_dims": 4},
        {"update_every": 2, "vectors": True, "normalize": True, "shampoo_beta": 0.5, "max_axis": 5},
        {"bias_correction": False, "weight_decay": 0.0},
    ],
    "sophia": [
        {"gamma": 1.0, "update_every": 2, "weight_decay": 0.1},
        {"gamma": 2.0, "update_every": 1, "rho": 0.5, "seed": 7},
        {"gamma": 1.0, "update_every": 3, "convention": "optax", "weight_decay": 0.1},
    ],
    "s_adagrad": [{"rank": 2, "beta2": 0.9, "delta": 1e-3}],
    "s_shampoo": [
        # Rank 1: directions of no mass, which the ridge would raise, are any library's choice.
        {"rank": 1, "beta2": 0.9, "epsilon": 1e-4, "tail_decay": "sqrt_beta2", "ridge": "update"},
        {"rank": 3, "beta2": 0.9, "epsilon": 1e-4, "update_every": 2, "graft": "none", "momentum": 0.0},
        {"max_axis": 3, "momentum_kind": "average"},
        {"block_size": 3, "merge_dims": 4, "rank": 2, "vectors": "graft", "start_step": 1, "epsilon": 1e-4},
    ],
    "shampoo": [
        {"block_size": 2, "update_every": 2, "beta2": 0.9, "epsilon": 1e-4, "epsilon_scale": "relative"},
        {"beta2": 1.0, "graft": "none", "beta1": 0.0, "epsilon": 1e-3, "merge_dims": 6},
        {"start_step": 2, "graft": "rmsprop_normalized", "momentum": "average", "epsilon": 1e-3},
        {"graft": "rmsprop", "momentum": "nesterov", "epsilon": 1e-3, "weight_decay": 0.1, "bias_correction": False},
        {"graft": "sgd", "epsilon": 1e-3},
    ],
    "sonew": [
        {"band": 0, "graft": "none"},
        {"graft": "official", "gamma": 0.0, "weight_decay": 0.1},
        {"graft": "rmsprop", "vectors": "adam"},
        {"graft": "momentum", "eps_scale": "relative", "eps": 1e-3},
        {"band": 2, "graft": "sgd", "eps": 1e-3},
        {"graft": "rmsprop_normalized", "eps_scale": "research", "eps": 1e-3, "vectors": "adam", "gamma": 0.0},
        {"band": 3, "edge_rule": "floor", "eps_scale": "research", "eps": 1e-2},
        {"band": 2, "edge_rule": "isolate", "gamma": 0.2, "eps": 1e-4},
        {"band": 3, "edge_rule": "minimal_cut", "gamma": 0.2, "eps": 1e-4},
        {"band": 2, "edge_rule": "reweight", "gamma": 0.2, "eps": 1e-4, "graft": "none"},
    ],
}
CASES = [(name, variant) for name in sorted(optim.optimizers()) for variant in ({}, *VARIANTS.get(name, []))]


def named(case: Any) -> str:
    return str(case) if isinstance(case, str) else ",".join(f"{key}={value}" for key, value in case.items()) or "plain"


def options_of(name: str, given: dict[str, Any]) -> optim.OptimizerOptions:
    # Both chains run as memory lies; tiny epsilons make rounding decide and are refused comparison.
    base = {"kind": name} | LIKE.get(name, {})
    return optim.optimizers()[name].parse(base | given)


def stream(steps: int = 6) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(5)
    return [{key: generator.normal(size=shape) for key, shape in SHAPES.items()} for _ in range(steps)]


def parameters(dtype: torch.dtype = torch.float64) -> dict[str, torch.nn.Parameter]:
    return {key: torch.nn.Parameter(torch.full(shape, 0.5, dtype=dtype)) for key, shape in SHAPES.items()}


def still(name: str) -> dict[str, Any]:
    """Without weight decay, which some have by default."""
    return {"weight_decay": 0.0} if "weight_decay" in optim.optimizers()[name].model_fields else {}


def twin(name: str, params: dict[str, torch.nn.Parameter], given: dict[str, Any]) -> Twin:
    return CLASSES[name](params.items(), **options_of(name, given).model_dump(exclude={"kind"}))


def bent(lib: Any, params: list[Any], at: list[Any], slopes: list[Any], coupling: float) -> Any:
    """A loss with these slopes where params are `at`, and a curvature there that couples all entries."""
    far = [p - here for p, here in zip(params, at, strict=True)]
    total = sum(lib.sum(d) for d in far)
    return sum(lib.sum(g * p + d * d) for g, p, d in zip(slopes, params, far, strict=True)) + coupling * total * total


def advance(
    optimizer: Twin, params: dict[str, torch.nn.Parameter], grads: dict[str, np.ndarray], coupling: float = 1.0
) -> None:
    moved, at = list(params.values()), [parameter.detach().clone() for parameter in params.values()]
    slopes = [torch.tensor(grads[key], dtype=parameter.dtype) for key, parameter in params.items()]
    if not optimizer.options_type.wants_loss:
        for parameter, slope in zip(moved, slopes, strict=True):
            parameter.grad = slope
        optimizer.step()
        return

    def closure() -> Any:
        optimizer.zero_grad()
        loss = bent(torch, moved, at, slopes, coupling)
        loss.backward()
        return loss.detach()

    optimizer.step(closure)


def test_every_optimizer_has_a_twin() -> None:
    assert sorted(CLASSES) == sorted(optim.optimizers())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "given"), CASES, ids=named)
def test_trajectories_are_those_of_jax(name: str, given: dict[str, Any]) -> None:
    options = options_of(name, given)
    transformation = optim.build(options)
    theirs = {key: jnp.full(shape, 0.5) for key, shape in SHAPES.items()}
    state = transformation.init(theirs)
    transformation = optax.with_extra_args_support(transformation)

    @jax.jit
    def update(grads: Any, state: Any, params: Any) -> Any:
        at, slopes = list(params.values()), list(grads.values())
        loss = lambda moved: bent(jnp, list(moved.values()), at, slopes, 1.0)  # noqa: E731
        return transformation.update(grads, state, params, obj_fn=loss)

    ours = parameters()
    optimizer = twin(name, ours, given)
    for grads in stream():
        updates, state = update({key: jnp.asarray(value) for key, value in grads.items()}, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        advance(optimizer, ours, grads)
        for key in SHAPES:
            np.testing.assert_allclose(ours[key].detach(), theirs[key], rtol=STEPWISE, atol=STEPWISE, err_msg=key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(optim.optimizers()))
def test_resumes_bit_for_bit_from_a_saved_state(name: str, dtype: torch.dtype) -> None:
    whole, first = parameters(dtype), parameters(dtype)
    unbroken, before = twin(name, whole, {}), twin(name, first, {})
    for grads in stream()[:3]:
        advance(unbroken, whole, grads)
        advance(before, first, grads)
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after = twin(name, first, {})
    after.load_state_dict(torch.load(file, weights_only=True))
    for grads in stream()[3:]:
        advance(unbroken, whole, grads)
        advance(after, first, grads)
    for key in SHAPES:
        assert torch.equal(whole[key], first[key])
        assert whole[key].dtype == dtype
    assert unbroken.state_bytes() == after.state_bytes()


@pytest.mark.parametrize("name", sorted(optim.optimizers()))
def test_zero_gradients_change_nothing_and_the_state_stays_finite(name: str) -> None:
    params = parameters(torch.float32)
    optimizer = twin(name, params, still(name))
    advance(optimizer, params, {key: np.zeros(shape) for key, shape in SHAPES.items()})
    assert all(bool((parameter == 0.5).all()) for parameter in params.values())
    assert all(
        bool(torch.isfinite(value).all())
        for state in optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value)
    )


@pytest.mark.parametrize("name", sorted(optim.optimizers()))
def test_order_of_parameters_does_not_matter(name: str) -> None:
    one, other = parameters(), parameters()
    forward, backward = twin(name, one, {}), twin(name, dict(reversed(other.items())), {})
    for grads in stream(3):
        # A sum over everything would be rounded by its order.
        advance(forward, one, grads, coupling=0.0)
        advance(backward, other, grads, coupling=0.0)
    for key in SHAPES:
        assert torch.equal(one[key], other[key])


@pytest.mark.parametrize("name", sorted(optim.optimizers()))
def test_groups_have_options_of_their_own(name: str) -> None:
    fast, slow, frozen = (torch.nn.Parameter(torch.ones(4, 3, dtype=torch.float64)) for _ in range(3))
    optimizer = CLASSES[name]([{"params": [fast], "lr": 0.02}, {"params": [slow, frozen]}], lr=0.01, **still(name))
    slope = np.arange(1.0, 13.0).reshape(4, 3)
    for _ in range(FIRST_MOVE.get(name, 1)):
        advance(optimizer, {"fast": fast, "slow": slow}, {"fast": slope, "slow": slope})
    moved = (1 - slow).detach()
    assert bool((moved != 0).any())
    np.testing.assert_allclose((1 - fast).detach(), FASTER.get(name, 2) * moved, rtol=1e-7)
    assert bool((frozen == 1).all())
    with pytest.raises(SpecInvalid) as refusal:
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": -1.0})
    assert list(refusal.value.fields) == ["lr"]
    assert len(optimizer.param_groups) == 2


@pytest.mark.parametrize("name", sorted(optim.optimizers()))
def test_what_cannot_be_optimized_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedParameter):
        CLASSES[name]([torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    with pytest.raises(SpecInvalid) as refusal:
        CLASSES[name]([torch.nn.Parameter(torch.ones(2))], lr=1e-3, no_such_option=1)
    assert list(refusal.value.fields) == ["no_such_option"]


@pytest.mark.parametrize("name", sorted(optim.optimizers()))
def test_a_closure_is_evaluated_and_its_loss_returned(name: str) -> None:
    parameter = torch.nn.Parameter(torch.full((3, 2), 2.0))
    optimizer = CLASSES[name]([parameter])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert first.item() == 24.0
    for _ in range(FIRST_MOVE.get(name, 1) - 1):
        optimizer.step(closure)
    assert closure().item() < 24.0


def test_chain_of_a_linear_layer_is_that_of_the_transposed_kernel_in_jax() -> None:
    grads = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    transformation = optim.build(optim.optimizers()["sonew"](eps=1e-1), 1.0)
    kernel = jnp.zeros((3, 5))
    updates, _ = transformation.update(jnp.asarray(grads.T), transformation.init(kernel), kernel)
    weight = torch.nn.Parameter(torch.zeros(5, 3))
    weight.grad = torch.tensor(grads)
    twins.SONew([weight], lr=1.0, eps=1e-1).step()
    np.testing.assert_allclose(weight.detach().T, updates, rtol=1e-4, atol=1e-6)
