"""S-Shampoo against Shampoo with dense factors, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.optim import s_shampoo

pytestmark = pytest.mark.usefixtures("float64")


def run(stream: np.ndarray, **options: Any) -> tuple[np.ndarray, s_shampoo.SShampooState]:
    transformation = s_shampoo.scale_by_s_shampoo(s_shampoo.Options(**options))
    state, step = transformation.init(jnp.asarray(stream[0])), jax.jit(transformation.update)
    for g in stream:
        update, state = step(jnp.asarray(g), state)
    return np.asarray(update), state


def gradients(*shape: int, steps: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(steps, *shape))


def power(h: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(h)
    return (vectors * values**exponent) @ vectors.T


@pytest.mark.parametrize("shape", [(4,), (4, 3), (1, 4, 3), (2, 3, 2)])
def test_full_rank_is_shampoo_with_the_exponent_of_its_axes(shape: tuple[int, ...]) -> None:
    stream = gradients(*shape)
    update, _ = run(stream, rank=8, graft="none", beta2=0.9, epsilon=1e-3)
    squeezed = stream.reshape(-1, *[d for d in shape if d > 1])
    expected, ndim = squeezed[-1], squeezed.ndim - 1
    for axis in range(ndim):
        h = 0.0
        for g in squeezed:
            unfolded = np.moveaxis(g, axis, 0).reshape(g.shape[axis], -1)
            h = 0.9 * h + unfolded @ unfolded.T
        h = h + 1e-3 * np.linalg.eigvalsh(h).max() * np.eye(len(h))
        expected = np.moveaxis(np.tensordot(power(h, -0.5 / ndim), expected, (1, axis)), 0, axis)
    np.testing.assert_allclose(update, expected.reshape(shape), rtol=1e-7, atol=1e-9)


def test_rotating_both_axes_rotates_the_direction() -> None:
    stream, generator = gradients(5, 4), np.random.default_rng(1)
    left, right = (np.linalg.qr(generator.normal(size=(d, d)))[0] for d in (5, 4))
    plain, _ = run(stream, rank=2, graft="none")
    turned, _ = run(left @ stream @ right.T, rank=2, graft="none")
    np.testing.assert_allclose(turned, left @ plain @ right.T, rtol=1e-7, atol=1e-9)


def test_scaling_the_gradients_changes_nothing() -> None:
    np.testing.assert_allclose(run(5 * gradients(4, 3), rank=2)[0], run(gradients(4, 3), rank=2)[0], rtol=1e-7)


def test_grafted_norm_is_rmsprops() -> None:
    stream = gradients(4, 3)
    update, _ = run(stream, rank=2, beta2=0.9)
    v = 0.0
    for g in stream:
        v = 0.9 * v + 0.1 * g**2
    np.testing.assert_allclose(np.linalg.norm(update), np.linalg.norm(stream[-1] / np.sqrt(v)), rtol=1e-7)


def test_sketches_skip_the_steps_between_updates() -> None:
    stream = gradients(4, 3, steps=5)
    skipped, _ = run(stream, rank=2, update_every=2, graft="none"), None
    dense, _ = run(stream[[0, 2, 4]], rank=2, graft="none"), None
    np.testing.assert_allclose(skipped[0], dense[0], rtol=1e-9)


@pytest.mark.parametrize("change", [{"tail_decay": "sqrt_beta2"}, {"ridge": "update", "epsilon": 1e-2}])
def test_switches_reach_the_update(change: dict[str, Any]) -> None:
    stream = gradients(5, 4)
    plain, changed = run(stream, rank=2, beta2=0.5)[0], run(stream, rank=2, beta2=0.5, **change)[0]
    assert np.all(np.isfinite(changed))
    assert not np.allclose(plain, changed, rtol=1e-4)


def test_long_axes_are_only_grafted_and_state_has_the_stated_size() -> None:
    update, state = run(gradients(6, 3), rank=2, max_axis=5, beta2=0.9)
    assert state.sketches == ()
    assert np.all(np.isfinite(update))
    _, state = run(gradients(6, 3), rank=2)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.sketches)) == (6 * 2 + 2 + 1) + (3 * 2 + 2 + 1)
