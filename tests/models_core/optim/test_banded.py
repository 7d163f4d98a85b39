"""The banded preconditioner against dense float64 matrices: its optimality condition leaves nothing unspecified."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.optim import _banded, sonew

# Rounding of float64 in systems of condition number below 1e4.
EXACT = 1e-10

pytestmark = pytest.mark.usefixtures("float64")


def statistics(n: int, seed: int = 0) -> np.ndarray:
    """A dense positive definite matrix, of which only the band is used."""
    rows = np.random.default_rng(seed).normal(size=(2 * n, n))
    return rows.T @ rows / (2 * n) + 0.1 * np.eye(n)


def diagonals(h: np.ndarray, band: int) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    n = len(h)
    return jnp.asarray(np.diag(h)), tuple(
        jnp.asarray(np.append(np.diag(h, k), np.zeros(min(k, n)))) for k in range(1, band + 1)
    )


def dense(h: np.ndarray, band: int, gamma: float = 0.0, rule: str = "minimal_cut") -> np.ndarray:
    a, couplings = diagonals(h, band)

    def apply(unit: jax.Array) -> jax.Array:
        return _banded.precondition(a, couplings, unit, gamma, rule)[0]

    return np.asarray(jax.jit(jax.vmap(apply, out_axes=1))(jnp.eye(len(h))))


def on_band(n: int, band: int) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= band


@pytest.mark.parametrize(("n", "band"), [(9, 2), (12, 4), (3, 2)])
def test_inverse_agrees_on_the_band_and_x_vanishes_off_it(n: int, band: int) -> None:
    h = statistics(n, seed=n)
    x = dense(h, band)
    inside = on_band(n, band)
    np.testing.assert_allclose(np.linalg.inv(x)[inside], h[inside], rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(x[~inside], 0, atol=EXACT)
    np.testing.assert_allclose(np.trace(x @ h), n, rtol=EXACT)


def test_band_over_everything_is_the_inverse() -> None:
    h = statistics(6)
    np.testing.assert_allclose(dense(h, 5), np.linalg.inv(h), rtol=1e-9, atol=EXACT)


@pytest.mark.parametrize("rule", ["isolate", "reweight"])
def test_band_one_by_windows_is_the_closed_form(rule: str) -> None:
    h = statistics(10)
    np.testing.assert_allclose(dense(h, 1, rule=rule), dense(h, 1), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("band", [2, 4])
@pytest.mark.parametrize("rule", ["minimal_cut", "isolate"])
def test_cut_edges_leave_the_condition_intact_on_the_remaining_graph(band: int, rule: str) -> None:
    n, bad = 14, 5
    h = statistics(n, seed=1)
    # Entry 5 is explained entirely by its upper neighbours: its row is a combination of theirs.
    weights = np.array([0.6, -0.4, 0.2, 0.3])[:band]
    mixing = np.eye(n)
    mixing[bad] = 0
    mixing[bad, bad + 1 : bad + 1 + band] = weights
    h = mixing @ h @ mixing.T
    x = dense(h, band, gamma=1e-9, rule=rule)
    p, q = np.indices((n, n))
    low, high = np.minimum(p, q), np.maximum(p, q)
    crosses = (low <= bad) & (bad < high) if rule == "minimal_cut" else (low != high) & ((p == bad) | (q == bad))
    kept = on_band(n, band) & ~crosses
    np.testing.assert_allclose(np.linalg.inv(x)[kept], h[kept], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(x[~kept], 0, atol=EXACT)
    assert np.linalg.eigvalsh(x).min() > 0


@pytest.mark.parametrize("rule", ["minimal_cut", "isolate", "reweight"])
@pytest.mark.parametrize("band", [1, 3])
def test_singular_statistics_leave_x_finite_and_positive(rule: str, band: int) -> None:
    g = np.array([1.0, 1.0, 0.0, 0.0, 2.0, -2.0, 0.5, 0.5])
    x = dense(np.outer(g, g) + 1e-12 * np.eye(8), band, gamma=1e-9, rule=rule)
    assert np.all(np.isfinite(x))
    values = np.linalg.eigvalsh((x + x.T) / 2)
    # Reweighting keeps variances at the rounding unit: positive in exact arithmetic, no better than rounded here.
    assert values.min() > (-EXACT * values.max() if rule == "reweight" else 0)


@pytest.mark.parametrize("rule", ["minimal_cut", "isolate", "reweight"])
@pytest.mark.parametrize(("band", "shape"), [(2, (6, 4)), (2, (11, 3)), (3, (3, 5, 4)), (1, (7, 2))])
def test_a_kernel_is_the_chain_of_its_columns(band: int, shape: tuple[int, ...], rule: str) -> None:
    # Statistics of a few gradients only: every rule has edges to remove.
    rows = np.random.default_rng(2).normal(size=(band, int(np.prod(shape))))
    h = rows.T @ rows / band + 1e-9 * np.eye(rows.shape[1])
    a, couplings = diagonals(h, band)
    m = jnp.asarray(np.random.default_rng(3).normal(size=len(a)))

    def kernel(chain: jax.Array) -> jax.Array:
        return _banded.from_chain(chain, shape, "fan_in")

    precondition = jax.jit(lambda a, couplings, m: _banded.precondition(a, couplings, m, 1e-6, rule)[0])
    flat, folded = precondition(a, couplings, m), precondition(kernel(a), tuple(map(kernel, couplings)), kernel(m))
    np.testing.assert_allclose(_banded.to_chain(folded, "fan_in"), flat, rtol=1e-7)
    assert np.all(np.isfinite(flat))


def test_reversing_the_chain_reverses_the_result() -> None:
    h = statistics(11)
    np.testing.assert_allclose(dense(h[::-1, ::-1], 3), dense(h, 3)[::-1, ::-1], rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("order", ["fan_in", "row_major"])
@pytest.mark.parametrize("by", [1, -2, 3, 7, -30])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 2, 3), ()])
def test_shift_is_a_shift_of_the_chain(order: str, by: int, shape: tuple[int, ...]) -> None:
    x = jnp.arange(1.0, 1 + int(np.prod(shape))).reshape(shape)
    chain = np.asarray(_banded.to_chain(x, order))
    places = np.arange(len(chain)) + by
    expected = np.where((places >= 0) & (places < len(chain)), chain[np.clip(places, 0, len(chain) - 1)], 9.0)
    moved = _banded.to_chain(_banded.shift(x, by, 9.0, order), order)
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("band", [0, 1, 3])
def test_statistics_in_bfloat16_stay_finite(band: int) -> None:
    transformation = sonew.scale_by_sonew(sonew.Options(band=band, statistics="bfloat16"))
    generator = np.random.default_rng(0)
    params = {"w": jnp.zeros((4, 3), jnp.float32)}
    state = transformation.init(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.square)} == {jnp.dtype("bfloat16")}
    step = jax.jit(transformation.update)
    for scale in (1.0, 1e-6, 0.0, 1e6):
        update, state = step({"w": jnp.asarray(generator.normal(size=(4, 3)) * scale, jnp.float32)}, state)
        assert all(np.all(np.isfinite(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves((update, state)))


def test_row_major_chain_runs_along_memory() -> None:
    g = jnp.asarray(np.random.default_rng(3).normal(size=(3, 4)))
    options = sonew.Options(band=2, graft="none", eps=1e-3, gamma=0.0)

    def update(x: jax.Array, order: str) -> np.ndarray:
        transformation = sonew.scale_by_sonew(options.model_copy(update={"order": order}))
        return np.asarray(jax.jit(transformation.update)(x, transformation.init(x))[0])

    np.testing.assert_allclose(update(g, "row_major"), update(g.T, "fan_in").T, rtol=EXACT)
