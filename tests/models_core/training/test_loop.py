"""The training loop: one large batch however it is cut, bounded gradients, one compilation, bit-exact resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models_core import checkpoints, optim
from models_core.errors import NonFinite
from models_core.events import Checkpoint
from models_core.nn import mlp
from models_core.nn.configs import MICRO, NANO
from models_core.optim.adam import Options as Adam
from models_core.training import flops, loop, sharding, snapshot
from models_core.training.options import LoopOptions
from models_core.training.precision import PRECISIONS

ROOT = Path(__file__).parents[3]
DRAWS = np.random.default_rng(0)
X, Y = DRAWS.normal(size=(12, 5)).astype(np.float32), DRAWS.integers(0, 3, size=12).astype(np.int32)
# Unequal on purpose: a mean of means would differ.
VALID = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 1], np.float32)


def sums(params, batch):
    logits = mlp.apply(params, batch["x"].astype(params[0]["kernel"].dtype)).astype(jnp.float32)
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][:, None], axis=1)[:, 0]
    right = (jnp.argmax(logits, axis=1) == batch["y"]).astype(jnp.float32)
    valid = batch["valid"]
    return jnp.sum(losses * valid), jnp.sum(valid), {"accuracy": jnp.sum(right * valid)}


def batch(micro: int, x=X) -> dict[str, jax.Array]:
    parts = {"x": x, "y": Y, "valid": VALID}
    return {name: jnp.asarray(part.reshape(micro, 12 // micro, *part.shape[1:])) for name, part in parts.items()}


def train(options: LoopOptions, micro: int = 1, steps: int = 3, optimizer=None, x=X, lr: float = 0.1):
    optimizer = optimizer or optax.sgd(lr, momentum=0.9)
    state = loop.start(mlp.init(jax.random.key(0), [5, 4, 3]), optimizer, options)
    step = loop.compile_step(sums, optimizer, options, state, batch(micro, x))
    metrics = {}
    for _ in range(steps):
        state, metrics = step(state, batch(micro, x))
    return state, metrics


@pytest.mark.parametrize("micro", [2, 3, 6])
def test_unequal_micro_batches_are_one_large_batch(micro: int) -> None:
    options = LoopOptions(clip=0.2, ema_decay=0.9)
    whole, whole_metrics = train(options)
    cut, cut_metrics = train(options, micro)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), cut, whole)
    for key, value in whole_metrics.items():
        np.testing.assert_allclose(cut_metrics[key], value, rtol=1e-5)
    assert float(whole_metrics["valid"]) == VALID.sum()
    # Control: a mean of the micro-batches' means is another number.
    params = mlp.init(jax.random.key(0), [5, 4, 3])
    parts = [sums(params, jax.tree.map(lambda leaf, i=i: leaf[i], batch(3))) for i in range(3)]
    mean_of_means = np.mean([float(total / jnp.maximum(count, 1)) for total, count, _ in parts])
    first = train(LoopOptions(), 3, steps=1)[1]["loss"]
    assert abs(mean_of_means - float(first)) > 1e-2


def test_clipping_bounds_the_step_and_reports_the_norm_before() -> None:
    free, metrics = train(LoopOptions(), steps=1, optimizer=optax.sgd(1.0))
    start = mlp.init(jax.random.key(0), [5, 4, 3])
    norm = float(optax.tree.norm(jax.tree.map(jnp.subtract, start, free.params)))
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)
    held, held_metrics = train(LoopOptions(clip=norm / 4), steps=1, optimizer=optax.sgd(1.0))
    moved = float(optax.tree.norm(jax.tree.map(jnp.subtract, start, held.params)))
    np.testing.assert_allclose(moved, norm / 4, rtol=1e-4)
    np.testing.assert_allclose(held_metrics["grad_norm"], norm, rtol=1e-5)
    loose, _ = train(LoopOptions(clip=norm * 4), steps=1, optimizer=optax.sgd(1.0))
    jax.tree.map(np.testing.assert_array_equal, loose.params, free.params)


def test_moving_average_by_hand() -> None:
    options = LoopOptions(ema_decay=0.75)
    expected = np.asarray(mlp.init(jax.random.key(0), [5, 4, 3])[0]["kernel"])
    for steps in (1, 2):
        state, _ = train(options, steps=steps)
        expected = 0.75 * expected + 0.25 * np.asarray(state.params[0]["kernel"])
    np.testing.assert_allclose(state.ema[0]["kernel"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_precision_table_is_kept(name) -> None:
    precision = PRECISIONS[name]
    seen = []

    def watched(params, part):
        seen.append(params[0]["kernel"].dtype)
        return sums(params, part)

    options = LoopOptions(precision=precision, ema_decay=0.5)
    optimizer = optax.sgd(0.1)
    state = loop.start(mlp.init(jax.random.key(0), [5, 4, 3]), optimizer, options)
    step = loop.compile_step(watched, optimizer, options, state, batch(2))
    state, metrics = step(state, batch(2))
    assert set(map(str, seen)) == {precision.compute}
    assert str(state.params[0]["kernel"].dtype) == precision.params
    assert str(state.ema[0]["kernel"].dtype) == precision.accumulate
    assert str(metrics["loss"].dtype) == precision.output
    exact = train(LoopOptions(), 2, steps=1, optimizer=optax.sgd(0.1))[1]
    np.testing.assert_allclose(metrics["loss"], exact["loss"], rtol=2e-2 if "bf" in name else 1e-6)


def test_divergence_stops_or_is_skipped() -> None:
    spoilt = X.copy()
    spoilt[0, 0] = np.nan
    state, _ = train(LoopOptions(), x=spoilt)
    with pytest.raises(NonFinite, match="at step 1"):
        loop.check(state, LoopOptions())
    skip = LoopOptions(on_non_finite="skip", most_skips=2, ema_decay=0.5)
    untouched = mlp.init(jax.random.key(0), [5, 4, 3])
    state, _ = train(skip, x=spoilt, steps=2)
    jax.tree.map(np.testing.assert_array_equal, state.params, untouched)
    assert (int(state.step), int(state.skipped), int(state.bad_step)) == (2, 2, 1)
    loop.check(state, skip)
    state, _ = train(skip, x=spoilt, steps=3)
    with pytest.raises(NonFinite, match="3 steps in a row, the last at step 3"):
        loop.check(state, skip)


def test_a_skipped_batch_changes_nothing_but_the_count() -> None:
    options = LoopOptions(on_non_finite="skip")
    optimizer = optim.build(Adam(lr=0.01))
    state = loop.start(mlp.init(jax.random.key(0), [5, 4, 3]), optimizer, options)
    step = loop.compile_step(sums, optimizer, options, state, batch(1))
    spoilt = batch(1) | {"x": batch(1)["x"] * jnp.inf}
    for part in (batch(1), spoilt, batch(1)):
        state, _ = step(state, part)
    assert (int(state.skipped), int(state.in_a_row)) == (1, 0)
    expected, _ = train(LoopOptions(), steps=2, optimizer=optimizer)
    jax.tree.map(np.testing.assert_array_equal, state.params, expected.params)


def test_nothing_compiles_after_the_first_step_and_buffers_are_given_away() -> None:
    compilations = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compilations.append(event) if "backend_compile" in event else None
    )
    options, optimizer = LoopOptions(clip=1.0, ema_decay=0.9), optax.sgd(0.1, momentum=0.9)
    state = loop.start(mlp.init(jax.random.key(0), [5, 4, 3]), optimizer, options)
    batches = [batch(3) for _ in range(4)]
    step = loop.compile_step(sums, optimizer, options, state, batches[0])
    assert compilations
    first = state
    state, _ = step(state, batches[0])
    compilations.clear()
    for part in batches[1:]:
        state, _ = step(state, part)
    assert not compilations
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
    with pytest.raises(TypeError, match="compiled"):
        step(state, batch(2))


def test_resume_through_a_checkpoint_is_bit_exact(tmp_path: Path) -> None:
    options, optimizer = LoopOptions(clip=0.5, ema_decay=0.9), optax.sgd(0.1, momentum=0.9)
    expected, _ = train(options, 3, steps=5, optimizer=optimizer)
    half, _ = train(options, 3, steps=2, optimizer=optimizer)
    identity = checkpoints.Identity("recipe", "1", "hash", 0)
    folder, _ = checkpoints.save(tmp_path, Checkpoint(2, snapshot.to_arrays(half), {}), identity)
    arrays = checkpoints.load(folder, identity).arrays
    state = snapshot.from_arrays(arrays, half)
    step = loop.compile_step(sums, optimizer, options, state, batch(3))
    for _ in range(3):
        state, _ = step(state, batch(3))
    jax.tree.map(np.testing.assert_array_equal, state, expected)


def test_meshes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(sharding.MeshInvalid, match="needs 64 devices"):
        sharding.make_mesh(16, 4)
    mesh = sharding.make_mesh(1, 1)
    assert sharding.shard_batch(batch(2), mesh)["x"].shape == (2, 6, 5)


SHARDED = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig
from models_core.training import language_model, loop, sharding
from models_core.training.options import LoopOptions
config = DecoderConfig(n_layers=2, d_model=32, n_heads=2, n_kv_heads=1, head_dim=12, d_ff=64, window=6, global_every=2)
rows = np.random.default_rng(0).integers(0, 40, size=(2, 8, 13)).astype(np.int32)
batch = {"inputs": jnp.asarray(rows[..., :-1]), "targets": jnp.asarray(rows[..., 1:]),
         "valid": jnp.ones(rows[..., 1:].shape), "positions": jnp.broadcast_to(jnp.arange(12), (2, 8, 12)),
         "segments": jnp.ones((2, 8, 12), jnp.int32)}
options = LoopOptions(clip=1.0, ema_decay=0.9)
found = {}
for data, fsdp in ((1, 1), (4, 1), (2, 2), (1, 4)):
    optimizer = optax.adam(0.01)
    mesh = sharding.make_mesh(data, fsdp)
    state = loop.start(decoder.init(jax.random.key(0), config, 40), optimizer, options)
    state, placed = sharding.shard_state(state, mesh), sharding.shard_batch(batch, mesh)
    step = loop.compile_step(language_model.build_sums(config), optimizer, options, state, placed)
    losses = []
    for _ in range(4):
        state, metrics = step(state, placed)
        losses.append(float(metrics["loss"]))
    share = max(s.data.nbytes for s in state.params["embedding"].addressable_shards) / state.params["embedding"].nbytes
    moment = jax.tree.leaves(state.opt_state[0].mu)[0]
    found[f"{data}x{fsdp}"] = [losses, share, moment.addressable_shards[0].data.nbytes / moment.nbytes]
try:
    sharding.shard_batch(jax.tree.map(lambda leaf: leaf[:, :3], batch), sharding.make_mesh(4))
    found["refused"] = False
except sharding.MeshInvalid:
    found["refused"] = True
print(json.dumps(found))
"""


@pytest.mark.slow
def test_four_devices_train_as_one() -> None:
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
    found = json.loads(result.stdout)
    assert found.pop("refused")
    alone, share, _ = found.pop("1x1")
    assert share == 1
    assert alone[-1] < alone[0]
    for name, (losses, share, moment_share) in found.items():
        # Devices sum in another order; four steps of Adam amplify the rounding.
        np.testing.assert_allclose(losses, alone, rtol=1e-4, err_msg=name)
        assert share == moment_share == 1 / int(name[-1]), name


def test_operations_counted_by_hand() -> None:
    # NANO: 7 layers, width 64, 4 query and 2 key/value heads of 32, feed-forward 128; 50 tokens, 16 long.
    query, key_value, out = 64 * 128, 2 * 64 * 64, 128 * 64
    scores_and_values = 2 * 4 * 32 * 16
    feed_forward = 3 * 64 * 128
    layer = query + key_value + out + scores_and_values + feed_forward
    assert flops.forward_per_token(NANO, 50, 16) == 2 * (7 * layer + 64 * 50)
    assert flops.training_per_token(NANO, 50, 16) == 6 * (7 * layer + 64 * 50)
    # Far from the attention's share, training costs about 6 N operations a token.
    count = MICRO.parameter_count(4096)
    np.testing.assert_allclose(flops.training_per_token(MICRO, 4096, 1), 6 * count, rtol=0.01)


def test_operations_agree_with_the_compiler() -> None:
    from models_core.nn import decoder

    config = NANO.model_copy(update={"n_layers": 2})
    params = jax.eval_shape(lambda: decoder.init(jax.random.key(0), config, 50))
    tokens = jax.ShapeDtypeStruct((1, 16), jnp.int32)
    compiled = jax.jit(decoder.apply, static_argnums=1).lower(params, config, tokens).compile()
    counted = flops.forward_per_token(config, 50, 16) * 16
    # The compiler also counts norms, rotation, activations and softmax, which weigh much at this size.
    assert 1.0 < compiled.cost_analysis()["flops"] / counted < 1.35
