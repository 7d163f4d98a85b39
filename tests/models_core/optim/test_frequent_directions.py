"""The sketch against the covariance it stands for, in float64."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.optim import _frequent_directions as fd

# Rounding of float64 over some dozens of decompositions.
EXACT = 1e-9

pytestmark = pytest.mark.usefixtures("float64")


def run(factors: np.ndarray, rank: int, beta2: float, tail_decay: str = "beta2") -> tuple[list[fd.Sketch], np.ndarray]:
    step = jax.jit(lambda sketch, factor: fd.absorb(sketch, factor, beta2, tail_decay))
    sketch, exact, seen = fd.empty(factors.shape[1], rank, jnp.float64), np.zeros((factors.shape[1],) * 2), []
    for factor in factors:
        sketch, exact = step(sketch, jnp.asarray(factor)), beta2 * exact + factor @ factor.T
        seen.append(sketch)
    return seen, exact


def matrix(sketch: fd.Sketch) -> np.ndarray:
    return np.asarray((sketch.basis * sketch.roots[None, :] ** 2) @ sketch.basis.T)


@pytest.mark.parametrize("beta2", [1.0, 0.999, 0.9])
@pytest.mark.parametrize("columns", [1, 3])
def test_escaped_mass_bounds_what_the_sketch_lacks(beta2: float, columns: int) -> None:
    factors = np.random.default_rng(0).normal(size=(30, 8, columns)) * np.geomspace(1, 0.05, 8)[:, None]
    seen, exact = run(factors, 4, beta2)
    rho, k = float(seen[-1].escaped), 4
    lacking = np.linalg.eigvalsh(exact - matrix(seen[-1]))
    assert lacking.min() >= -EXACT
    assert lacking.max() <= rho + EXACT
    assert np.trace(exact) - float(jnp.sum(seen[-1].roots ** 2)) >= (k + 1) * rho - EXACT
    spectrum = np.sort(np.linalg.eigvalsh(exact))[::-1]
    assert rho <= min(spectrum[j:].sum() / (k + 1 - j) for j in range(k + 1)) + EXACT
    np.testing.assert_allclose(seen[-1].basis.T @ seen[-1].basis, np.eye(k), atol=EXACT)


@pytest.mark.parametrize("beta2", [1.0, 0.999, 0.9])
@pytest.mark.parametrize("columns", [1, 3])
def test_the_covariance_that_is_used_never_forgets_more_than_the_decay(beta2: float, columns: int) -> None:
    # Sketch and escaped mass together: what the new factor adds is positive semidefinite.
    factors = np.random.default_rng(8).normal(size=(20, 8, columns))
    seen, _ = run(factors, 3, beta2)
    used = [matrix(sketch) + float(sketch.escaped) * np.eye(8) for sketch in seen]
    assert all(float(sketch.escaped) >= 0 for sketch in seen)
    for before, after in itertools.pairwise(used):
        assert np.linalg.eigvalsh(after - beta2 * before).min() >= -EXACT


def test_nothing_escapes_while_the_rank_suffices() -> None:
    basis = np.random.default_rng(1).normal(size=(7, 3))
    factors = (basis @ np.random.default_rng(2).normal(size=(3, 20))).T[:, :, None]
    seen, exact = run(factors, 3, 1.0)
    assert float(seen[-1].escaped) == 0
    np.testing.assert_allclose(matrix(seen[-1]), exact, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(("tail_decay", "decay"), [("beta2", 0.9), ("sqrt_beta2", np.sqrt(0.9))])
def test_steady_tail_tells_the_two_decays_apart(tail_decay: str, decay: float) -> None:
    seen, _ = run(np.broadcast_to(np.eye(4), (300, 4, 4)), 2, 0.9, tail_decay)
    # All directions are alike: every cut takes what came in, one.
    np.testing.assert_allclose(seen[-1].escaped, 1 / (1 - decay), rtol=1e-6)


def test_a_larger_sketch_never_lets_more_escape() -> None:
    factors = np.random.default_rng(5).normal(size=(25, 8, 1))
    escaped = [float(run(factors, rank, 1.0)[0][-1].escaped) for rank in (1, 2, 4, 8)]
    assert escaped == sorted(escaped, reverse=True)
    assert escaped[-1] == 0


def test_a_factor_that_is_not_finite_is_skipped() -> None:
    before = fd.absorb(fd.empty(3, 2, jnp.float64), jnp.ones((3, 1)), 1.0)
    after = fd.absorb(before, jnp.full((3, 1), jnp.nan), 1.0)
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_powers_are_those_of_the_dense_matrix() -> None:
    seen, _ = run(np.random.default_rng(6).normal(size=(9, 5, 1)), 3, 1.0)
    sketch, right = seen[-1], np.random.default_rng(7).normal(size=(5, 2))
    values, vectors = np.linalg.eigh(matrix(sketch) + (float(sketch.escaped) + 0.1) * np.eye(5))
    expected = (vectors * values**-0.25) @ vectors.T @ right
    np.testing.assert_allclose(fd.power_times(sketch, jnp.asarray(right), -0.25, 0.1), expected, rtol=EXACT)
