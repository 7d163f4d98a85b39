"""What recipes share: schedules, snapshots, evaluation, pacing, the training step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models_core.errors import CheckpointInvalid, NonFinite
from models_core.training import schedules, snapshot
from models_core.training.evaluation import build_evaluation
from models_core.training.pacing import MOST_POINTS, MOST_PROGRESS, Pacing
from models_core.training.step import TrainState, check_finite, compile_step, start
from models_core.training.stopwatch import Stopwatch


def rates(decay: schedules.Decay, steps: int = 10, warmup_steps: int = 3) -> list[float]:
    schedule = schedules.warmup_then_decay(2.0, steps=steps, warmup_steps=warmup_steps, decay=decay)
    return [float(schedule(jnp.asarray(count))) for count in range(steps + 1)]


def test_warm_up_rises_to_the_peak() -> None:
    np.testing.assert_allclose(rates("none"), [0.5, 1.0, 1.5] + [2.0] * 8)
    assert rates("none", warmup_steps=0)[0] == 2.0


def test_linear_decay_ends_at_zero() -> None:
    np.testing.assert_allclose(rates("linear")[3:], np.linspace(2, 0, 8), rtol=1e-6)


def test_cosine_decay_ends_at_zero_and_is_half_in_the_middle() -> None:
    values = rates("cosine", steps=11)
    assert values[3] == 2.0
    np.testing.assert_allclose(values[7], 1.0, rtol=1e-6)
    np.testing.assert_allclose(values[11], 0.0, atol=1e-6)


def some_tree() -> dict[str, object]:
    return {"layers": [{"w": jnp.arange(3.0)}, {"w": jnp.ones((2, 2), jnp.bfloat16)}], "step": jnp.zeros((), jnp.int32)}


def test_snapshot_names_leaves_by_path_and_restores_them() -> None:
    arrays = snapshot.to_arrays(some_tree(), "state.")
    assert sorted(arrays) == ["state.layers.0.w", "state.layers.1.w", "state.step"]
    restored = snapshot.from_arrays(arrays, jax.tree.map(jnp.zeros_like, some_tree()), "state.")
    jax.tree.map(np.testing.assert_array_equal, restored, some_tree())
    assert snapshot.tree_bytes(some_tree()) == 12 + 8 + 4


def test_snapshot_refuses_what_does_not_fit() -> None:
    arrays = snapshot.to_arrays(some_tree())
    missing = {name: array for name, array in arrays.items() if name != "step"}
    with pytest.raises(CheckpointInvalid, match="step is missing"):
        snapshot.from_arrays(missing, some_tree())
    with pytest.raises(CheckpointInvalid, match="other is not expected"):
        snapshot.from_arrays(arrays | {"other": np.ones(1)}, some_tree())
    with pytest.raises(CheckpointInvalid, match=r"layers\.0\.w is float32\[2\], expected float32\[3\]"):
        snapshot.from_arrays(arrays | {"layers.0.w": np.ones(2, np.float32)}, some_tree())
    with pytest.raises(CheckpointInvalid, match=r"step is int64\[\], expected int32\[\]"):
        snapshot.from_arrays(arrays | {"step": np.array(0)}, some_tree())


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_evaluation_is_the_mean_over_all_examples_whatever_the_batch(batch_size: int) -> None:
    def sums(offset: jax.Array, x: jax.Array, valid: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        return {"mean": jnp.sum((x + offset) * valid)}, jnp.sum(valid)

    evaluate = build_evaluation(sums, batch_size)
    values = np.arange(7, dtype=np.float32)
    np.testing.assert_allclose(evaluate(jnp.float32(1.0), values)["mean"], values.mean() + 1, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 7, 5000, 123_456])
def test_pacing_bounds_the_points_and_always_reports_first_and_last(steps: int) -> None:
    pacing = Pacing(steps)
    reported = [step for step in range(1, steps + 1) if pacing.reports(step)]
    assert reported[0] == 1
    assert reported[-1] == steps
    assert len(reported) <= MOST_POINTS + 2
    assert sum(pacing.tells_progress(step) for step in range(1, steps + 1)) <= MOST_PROGRESS + 1


def test_pacing_evaluates_and_saves_when_asked() -> None:
    pacing = Pacing(10, eval_every=4, checkpoint_every=5)
    assert [step for step in range(1, 11) if pacing.evaluates(step)] == [4, 8, 10]
    assert [step for step in range(1, 11) if pacing.saves(step)] == [5]
    assert not any(Pacing(10).saves(step) for step in range(1, 11))


def descend(rate: float, steps: int) -> tuple[TrainState, dict[str, jax.Array]]:
    def loss(params: jax.Array, target: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return jnp.sum((params - target) ** 2), {"first": params[0]}

    optimizer = optax.sgd(rate)
    state, target = start(jnp.ones(2), optimizer), jnp.zeros(2)
    step = compile_step(loss, optimizer, state, target)
    for _ in range(steps):
        state, metrics = step(state, target)
    return state, metrics


def test_a_step_descends_and_reports_what_it_saw_before() -> None:
    state, metrics = descend(0.25, 2)
    np.testing.assert_allclose(state.params, 0.25)
    assert float(metrics["loss"]) == 0.5
    assert float(metrics["first"]) == 0.5
    np.testing.assert_allclose(metrics["grad_norm"], np.sqrt(2), rtol=1e-6)
    assert int(state.step) == 2
    check_finite(state)


def test_divergence_is_reported_with_its_first_step_and_the_gradient_before() -> None:
    # The error grows by 1e10 a step: its square leaves float32 at the third gradient.
    state, _ = descend(0.5e10, 6)
    with pytest.raises(NonFinite, match=r"Training met NaN or infinity at step 3; .* norm was 2\.828e\+10"):
        check_finite(state)


def test_stopwatch_counts_only_while_it_runs() -> None:
    watch = Stopwatch(5.0)
    watch.stop()
    assert watch.seconds == 5.0
    watch.start()
    watch.start()
    watch.stop()
    assert watch.seconds > 5.0
    first = watch.lap_s()
    assert first > 0
    assert watch.lap_s() == 1e-6
