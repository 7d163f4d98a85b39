"""S-AdaGrad against full-matrix AdaGrad, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.optim import s_adagrad

pytestmark = pytest.mark.usefixtures("float64")


def run(stream: np.ndarray, **options: Any) -> list[np.ndarray]:
    transformation = s_adagrad.build(s_adagrad.Options(**options), 1.0)
    state, step, updates = transformation.init(jnp.asarray(stream[0])), jax.jit(transformation.update), []
    for g in stream:
        update, state = step(jnp.asarray(g), state)
        updates.append(np.asarray(update))
    return updates


def gradients(size: int = 6, steps: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(steps, size))


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_full_rank_is_full_matrix_adagrad(shape: tuple[int, ...]) -> None:
    stream = gradients()
    updates = run(stream.reshape(-1, *shape), rank=6)
    total = np.zeros((6, 6))
    for g, update in zip(stream, updates, strict=True):
        total += np.outer(g, g)
        values, vectors = np.linalg.eigh(total)
        roots = np.where(values > 1e-10 * values.max(), np.abs(values) ** -0.5, 0)
        np.testing.assert_allclose(update.reshape(-1), -(vectors * roots) @ vectors.T @ g, rtol=1e-7, atol=1e-9)


def test_rotating_the_gradients_rotates_the_updates() -> None:
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    plain, turned = run(gradients(), rank=3), run(gradients() @ turn.T, rank=3)
    np.testing.assert_allclose(np.stack(turned), np.stack(plain) @ turn.T, rtol=1e-7, atol=1e-9)


def test_scaling_the_gradients_changes_nothing() -> None:
    np.testing.assert_allclose(run(7.0 * gradients(), rank=2), run(gradients(), rank=2), rtol=1e-7, atol=1e-9)


def test_escaped_mass_counts_in_full_in_the_update() -> None:
    # The second gradient is orthogonal to the first and shorter: all of it escapes from one direction.
    first, second = run(np.array([[2.0, 0.0], [0.0, 1.0]]), rank=1)
    np.testing.assert_allclose(first, [-1, 0], atol=1e-12)
    np.testing.assert_allclose(second, [0, -1], atol=1e-12)


def test_state_is_one_sketch_a_tensor() -> None:
    state = s_adagrad.build(s_adagrad.Options(rank=4), 0.1).init({"w": jnp.zeros((5, 6))})
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 30 * 4 + 4 + 1
