"""Loops hand the loss to an optimizer that differentiates it: whole or in micro-batches, in both frameworks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core import optim
from models_core.nn import mlp
from models_core.nn.torch.mlp import Mlp
from models_core.optim import torch as twins
from models_core.optim.sophia import Options, diagonal
from models_core.training import loop, snapshot
from models_core.training.options import LoopOptions
from models_core.training.precision import PRECISIONS
from models_core.training.step import compile_step, start
from models_core.training.torch import loop as torch_loop

ROOT = Path(__file__).parents[3]
SIZES = [5, 4, 3]
DRAWS = np.random.default_rng(0)
X, Y = DRAWS.normal(size=(12, 5)).astype(np.float32), DRAWS.integers(0, 3, size=12).astype(np.int32)
# Unequal on purpose: a mean of means would differ.
VALID = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 1], np.float32)
SOPHIA = Options(lr=0.05, gamma=1.0, beta2=0.5, update_every=2, weight_decay=0.1)
# Two libraries round differently; some steps of training carry that on.
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def sums(params: Any, batch: Any) -> Any:
    logits = mlp.apply(params, batch["x"].astype(params[0]["kernel"].dtype), jnp.tanh).astype(jnp.float32)
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][:, None], axis=1)[:, 0]
    return jnp.sum(losses * batch["valid"]), jnp.sum(batch["valid"]), {}


def torch_sums(model: torch.nn.Module, batch: Any) -> Any:
    logits = model(batch["x"].to(next(model.parameters()).dtype)).float()
    losses = torch.nn.functional.cross_entropy(logits, batch["y"].long(), reduction="none")
    return (losses * batch["valid"]).sum(), batch["valid"].sum(), {}


def batch(micro: int, x: np.ndarray = X) -> dict[str, np.ndarray]:
    parts = {"x": x, "y": Y, "valid": VALID}
    return {name: part.reshape(micro, 12 // micro, *part.shape[1:]) for name, part in parts.items()}


def trained(options: LoopOptions, micro: int, batches: list[np.ndarray]) -> loop.LoopState:
    optimizer = optim.build(SOPHIA)
    state = loop.start(mlp.init(jax.random.key(0), SIZES), optimizer, options)
    first = jax.tree.map(jnp.asarray, batch(micro))
    step = loop.compile_step(sums, optimizer, options, state, first)
    for x in batches:
        state, _ = step(state, jax.tree.map(jnp.asarray, batch(micro, x)))
    return state


def twin(options: LoopOptions) -> torch_loop.Loop:
    model = Mlp(SIZES, [torch.tanh, None])
    held = snapshot.to_arrays(mlp.init(jax.random.key(0), SIZES))
    model.load_state_dict({name: torch.tensor(array) for name, array in held.items()})
    return torch_loop.Loop(model, SOPHIA, lambda _: SOPHIA.lr, options, torch_sums)


def stepped(one: torch_loop.Loop, micro: int, batches: list[np.ndarray]) -> torch_loop.Loop:
    for x in batches:
        parts = batch(micro, x)
        one.step([{key: torch.tensor(part[i]) for key, part in parts.items()} for i in range(micro)])
    return one


def assert_same(state: loop.LoopState, other: torch_loop.Loop) -> None:
    ours = snapshot.to_arrays(state.params), snapshot.to_arrays(state.opt_state.curvature)
    for index, (name, parameter) in enumerate(other.model.named_parameters()):
        np.testing.assert_allclose(parameter.detach(), ours[0][name], **CLOSE, err_msg=name)
        curvature = other.arrays()[f"optimizer.{index}.curvature"]
        np.testing.assert_allclose(curvature, ours[1][name], **CLOSE, err_msg=name)


def test_micro_batches_of_both_frameworks_are_one_large_batch() -> None:
    options = LoopOptions(clip=0.2)
    whole = trained(options, 1, [X] * 5)
    assert any(np.any(np.asarray(leaf) > 0) for leaf in jax.tree.leaves(whole.opt_state.curvature))
    cut = trained(options, 3, [X] * 5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), cut, whole)
    for micro in (1, 3):
        assert_same(whole, stepped(twin(options), micro, [X] * 5))


def test_the_loop_does_what_a_closure_does() -> None:
    ours = stepped(twin(LoopOptions()), 1, [X] * 4)
    model = twin(LoopOptions()).model
    optimizer = twins.Sophia(model.named_parameters(), **SOPHIA.model_dump(exclude={"kind"}))
    parts = {key: torch.tensor(part[0]) for key, part in batch(1).items()}

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch_sums(model, parts)[0] / VALID.sum()
        loss.backward()
        return loss.detach()

    for _ in range(4):
        optimizer.step(closure)
    for mine, other in zip(ours.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, **CLOSE)


def test_a_skipped_batch_leaves_the_curvature_for_the_next() -> None:
    options, broken = LoopOptions(on_non_finite="skip"), np.full_like(X, np.nan)
    # The third update is due: it is tried with the broken batch, skipped, and made with the next.
    state = trained(options, 3, [X, X, broken, X])
    assert (int(state.skipped), int(state.opt_state.step)) == (1, 3)
    other = stepped(twin(options), 3, [X, X, broken, X])
    assert (other.skipped, other.updates) == (1, 3)
    plain = trained(options, 3, [X, X, X])
    for one in (state, plain):
        assert_same(one, other)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "bfloat16"])
def test_curvature_is_float32_and_finite_in_lower_precision(precision: str) -> None:
    options = LoopOptions(precision=PRECISIONS[precision])
    state = trained(options, 2, [X] * 3)
    curvature = snapshot.to_arrays(state.opt_state.curvature)
    theirs = stepped(twin(options), 2, [X] * 3).arrays()
    held = [array for name, array in theirs.items() if name.endswith("curvature")]
    for array in (*curvature.values(), *held):
        assert array.dtype == np.float32
        assert np.all(np.isfinite(array))
        assert np.any(array)


def test_a_run_that_is_saved_between_estimates_goes_on_bit_for_bit() -> None:
    whole = stepped(twin(LoopOptions()), 1, [X] * 6)
    first = stepped(twin(LoopOptions()), 1, [X] * 3)
    resumed = twin(LoopOptions())
    resumed.restore(first.arrays())
    stepped(resumed, 1, [X] * 3)
    for name, array in resumed.arrays().items():
        np.testing.assert_array_equal(array, whole.arrays()[name], err_msg=name)


def test_the_plain_step_differentiates_the_loss_of_its_batch() -> None:
    x, y = jnp.asarray(X), jnp.asarray(Y)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> Any:
        total, count, _ = sums(params, {"x": x, "y": y, "valid": jnp.asarray(VALID)})
        return total / count, {}

    params = mlp.init(jax.random.key(0), SIZES)
    expected = diagonal(lambda params: loss(params, x, y)[0], params, seed=0, step=jnp.int32(0))
    optimizer = optim.build(SOPHIA)
    state = start(params, optimizer)
    state, _ = compile_step(loss, optimizer, state, x, y)(state, x, y)
    jax.tree.map(lambda h, e: np.testing.assert_allclose(h, 0.5 * e, **CLOSE), state.opt_state.curvature, expected)


SHARDED = """
import json
import jax, jax.numpy as jnp, numpy as np
from models_core import optim
from models_core.nn import mlp
from models_core.optim.sophia import Options
from models_core.training import loop, sharding
from models_core.training.options import LoopOptions
draws = np.random.default_rng(0)
batch = {"x": jnp.asarray(draws.normal(size=(2, 8, 32)), jnp.float32), "y": jnp.asarray(draws.normal(size=(2, 8, 4)))}
def sums(params, part):
    far = mlp.apply(params, part["x"], jnp.tanh) - part["y"]
    return jnp.sum(far * far), jnp.float32(far.shape[0]), {}
found = []
for shape in ((1, 1), (2, 2)):
    optimizer = optim.build(Options(lr=0.01, gamma=0.1, beta2=0.5, update_every=2))
    mesh = sharding.make_mesh(*shape)
    state = loop.start(mlp.init(jax.random.key(0), [32, 64, 4]), optimizer, LoopOptions())
    state, placed = sharding.shard_state(state, mesh), sharding.shard_batch(batch, mesh)
    step = loop.compile_step(sums, optimizer, LoopOptions(), state, placed)
    for _ in range(4):
        state, metrics = step(state, placed)
    h = state.opt_state.curvature[0]["kernel"]
    share = h.addressable_shards[0].data.nbytes / h.nbytes
    found.append([float(metrics["loss"]), share, np.asarray(h).ravel().tolist()])
print(json.dumps(found))
"""


def test_four_devices_find_the_curvature_of_one_and_cut_it() -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4 --xla_cpu_multi_thread_eigen=false",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PLATFORMS": "cpu",
    }
    result = subprocess.run(
        [sys.executable, "-c", SHARDED], cwd=ROOT, capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    (loss, whole, curvature), (other, half, theirs) = json.loads(result.stdout)
    assert (whole, half) == (1, 0.5)
    np.testing.assert_allclose(other, loss, rtol=1e-4)
    np.testing.assert_allclose(theirs, curvature, rtol=1e-3, atol=1e-4)
