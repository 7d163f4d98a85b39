"""SONew against a dense float64 reference: the optimality condition specifies the preconditioner completely."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models_core.optim import _banded, sonew

# Rounding of float64 in sums over at most forty entries of condition number below 1e4.
EXACT = 1e-10


def chain_statistics(n: int, seed: int, steps: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal a and couplings b of a positive definite tridiagonal H; b's last entry is zero."""
    rows = np.random.default_rng(seed).normal(size=(steps, n))
    a = (rows**2).mean(axis=0) + 0.1
    b = np.append((rows[:, :-1] * rows[:, 1:]).mean(axis=0), 0.0)
    return a, b


def dense_preconditioner(a: np.ndarray, b: np.ndarray, gamma: float) -> np.ndarray:
    def apply(unit: jax.Array) -> jax.Array:
        return _banded.precondition(jnp.asarray(a), (jnp.asarray(b),), unit, gamma)[0]

    return np.asarray(jax.jit(jax.vmap(apply, out_axes=1))(jnp.eye(len(a))))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("n", [1, 2, 3, 17, 40])
def test_inverse_agrees_with_statistics_on_every_edge_and_x_vanishes_elsewhere(n: int) -> None:
    a, b = chain_statistics(n, seed=n)
    x = dense_preconditioner(a, b, gamma=0.0)
    inverse = np.linalg.inv(x)
    np.testing.assert_allclose(np.diag(inverse), a, rtol=EXACT)
    np.testing.assert_allclose(np.diag(inverse, 1), b[:-1], rtol=EXACT, atol=EXACT)
    off_graph = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) > 1
    assert np.all(x[off_graph] == 0)
    np.testing.assert_allclose(x, x.T, rtol=EXACT, atol=EXACT)


@pytest.mark.usefixtures("float64")
def test_trace_and_determinant_identities() -> None:
    n = 23
    a, b = chain_statistics(n, seed=5)
    x = dense_preconditioner(a, b, gamma=0.0)
    h = np.diag(a) + np.diag(b[:-1], 1) + np.diag(b[:-1], -1)
    c = a - np.append(b[:-1] ** 2 / a[1:], 0)
    np.testing.assert_allclose(np.trace(x @ h), n, rtol=EXACT)
    np.testing.assert_allclose(-np.linalg.slogdet(x)[1], np.log(c).sum(), rtol=EXACT)


@pytest.mark.usefixtures("float64")
def test_cut_edges_leave_the_condition_intact_on_the_remaining_graph() -> None:
    a, b = chain_statistics(20, seed=2)
    # Collinear neighbours: the conditional variance of 4 and of 11 is exactly zero.
    for j in (4, 11):
        b[j] = np.sqrt(a[j] * a[j + 1])
    x = dense_preconditioner(a, b, gamma=1e-7)
    inverse = np.linalg.inv(x)
    c = a - np.append(b[:-1] ** 2 / a[1:], 0)
    kept = np.flatnonzero(c[:-1] > 1e-7 * a[:-1])
    assert {4, 11}.isdisjoint(kept)
    assert len(kept) >= 10
    np.testing.assert_allclose(np.diag(inverse), a, rtol=EXACT)
    np.testing.assert_allclose(np.diag(inverse, 1)[kept], b[kept], rtol=EXACT)
    assert x[5, 4] == 0
    assert x[12, 11] == 0
    assert np.linalg.eigvalsh(x).min() > 0


@pytest.mark.usefixtures("float64")
def test_reversing_the_chain_reverses_the_result() -> None:
    a, b = chain_statistics(15, seed=3)
    m = np.random.default_rng(4).normal(size=15)
    forward = _banded.precondition(jnp.asarray(a), (jnp.asarray(b),), jnp.asarray(m), 0.0)[0]
    turned = np.append(b[:-1][::-1], 0.0)
    backward = _banded.precondition(jnp.asarray(a[::-1]), (jnp.asarray(turned),), jnp.asarray(m[::-1]), 0.0)[0]
    np.testing.assert_allclose(forward, np.asarray(backward)[::-1], rtol=EXACT)


@pytest.mark.usefixtures("float64")
def test_first_step_has_the_closed_form_conditional_variance() -> None:
    g = np.array([0.3, -2.0, 0.7, 1.1])
    eps = 1e-3
    options = sonew.Options(eps=eps, graft="none", beta1=0.0, gamma=0.0)
    update, _ = apply_once(options, {"w": jnp.asarray(g)})
    # c_j = eps (1 + g_j^2 / (g_{j+1}^2 + eps)); the last one keeps its variance.
    c = np.append(eps * (1 + g[:-1] ** 2 / (g[1:] ** 2 + eps)), g[-1] ** 2 + eps)
    psi = np.append(g[:-1] * g[1:] / (g[1:] ** 2 + eps), 0)
    y = (g - psi * np.append(g[1:], 0)) / c
    expected = y - np.append(0, psi[:-1] * y[:-1])
    np.testing.assert_allclose(update["w"], expected, rtol=1e-9)


def apply_once(options: sonew.Options, grads: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], sonew.SonewState]:
    transformation = sonew.scale_by_sonew(options)
    return jax.jit(transformation.update)(grads, transformation.init(grads))


def run_stream(options: sonew.Options, stream: list[dict[str, jax.Array]]) -> dict[str, jax.Array]:
    transformation = sonew.scale_by_sonew(options)
    state = transformation.init(stream[0])
    step = jax.jit(transformation.update)
    for grads in stream:
        update, state = step(grads, state)
    return update


def gradient_stream(shape: tuple[int, ...], steps: int = 4, dtype: str = "float64") -> list[dict[str, jax.Array]]:
    generator = np.random.default_rng(7)
    return [{"w": jnp.asarray(generator.normal(size=shape).astype(dtype))} for _ in range(steps)]


@pytest.mark.usefixtures("float64")
def test_band_zero_is_diagonal() -> None:
    stream = gradient_stream((5, 3))
    update = run_stream(sonew.Options(band=0, graft="none", eps=1e-4), stream)
    m = v = 0.0
    for grads in stream:
        m = 0.9 * m + 0.1 * grads["w"]
        v = 0.99 * v + 0.01 * grads["w"] ** 2
    expected = (m / (1 - 0.9**4)) / (v / (1 - 0.99**4) + 1e-4)
    np.testing.assert_allclose(update["w"], expected, rtol=EXACT)


@pytest.mark.usefixtures("float64")
def test_chain_runs_along_the_fan_in_of_each_output_and_on_to_the_next() -> None:
    stream = gradient_stream((4, 3))
    flat = [{"w": grads["w"].T.reshape(-1)} for grads in stream]
    options = sonew.Options(graft="none", eps=1e-3)
    kernel = run_stream(options, stream)["w"]
    vector = run_stream(options, flat)["w"]
    np.testing.assert_allclose(kernel, vector.reshape(3, 4).T, rtol=EXACT)


@pytest.mark.usefixtures("float64")
def test_update_matches_the_inverse_of_the_completion_applied_to_the_momentum() -> None:
    stream = gradient_stream((9,), steps=6)
    update = run_stream(sonew.Options(graft="none", eps=1e-3, gamma=0.0), stream)["w"]
    rows = np.stack([np.asarray(grads["w"]) for grads in stream])
    weights = 0.99 ** np.arange(5, -1, -1) * 0.01 / (1 - 0.99**6)
    a = (weights[:, None] * rows**2).sum(axis=0) + 1e-3
    b = (weights[:, None] * rows[:, :-1] * rows[:, 1:]).sum(axis=0)
    momentum = (0.9 ** np.arange(5, -1, -1)[:, None] * 0.1 * rows).sum(axis=0) / (1 - 0.9**6)
    # Maximum-determinant completion of a chain, entry by entry, then a dense inverse.
    h = np.diag(a)
    for distance in range(1, 9):
        for i in range(9 - distance):
            j = i + distance
            h[i, j] = h[j, i] = b[i] if distance == 1 else h[i, j - 1] * h[j - 1, j] / a[j - 1]
    np.testing.assert_allclose(update, np.linalg.solve(h, momentum), rtol=1e-8)


@pytest.mark.usefixtures("float64")
def test_diagonal_reparametrisation_is_covariant() -> None:
    stream = gradient_stream((12,))
    scale = np.random.default_rng(1).uniform(0.1, 10, 12)
    options = sonew.Options(graft="none", eps=1e-300, gamma=0.0)
    plain = run_stream(options, stream)["w"]
    scaled = run_stream(options, [{"w": grads["w"] * scale} for grads in stream])["w"]
    np.testing.assert_allclose(scaled, plain / scale, rtol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("graft", "expected"),
    [
        ("adam", lambda g, m, v, t: (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)),
        ("official", lambda g, m, v, t: (m / (1 - 0.9**t)) / (np.sqrt(v) + 1e-8)),
        ("rmsprop", lambda g, m, v, t: g / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)),
        ("sgd", lambda g, m, v, t: g),
    ],
)
def test_grafted_norm_is_that_of_the_other_method(graft, expected) -> None:
    stream = gradient_stream((6, 2), steps=3)
    update = run_stream(sonew.Options(graft=graft, eps=1e-3), stream)["w"]
    m = v = 0.0
    for grads in stream:
        g = np.asarray(grads["w"])
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
    np.testing.assert_allclose(np.linalg.norm(update), np.linalg.norm(expected(g, m, v, 3)), rtol=1e-6)


@pytest.mark.parametrize("graft", ["adam", "official", "rmsprop", "sgd", "none"])
@pytest.mark.parametrize("band", [0, 1])
def test_zero_gradient_gives_zero_update_and_finite_state(graft, band) -> None:
    update, state = apply_once(sonew.Options(graft=graft, band=band), {"w": jnp.zeros((3, 2))})
    assert np.all(np.asarray(update["w"]) == 0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_first_step_in_float32_is_finite_and_bounded(seed: int, scale: float) -> None:
    gradient = np.random.default_rng(seed).normal(size=(40, 25)).astype(np.float32) * np.float32(scale)
    gradient[3] = 0
    gradient[:, 4] = gradient[:, 5]
    update, _ = apply_once(sonew.Options(), {"w": jnp.asarray(gradient)})
    assert np.all(np.isfinite(update["w"]))
    # The graft is Adam, whose first step has entries of size one.
    assert np.linalg.norm(update["w"]) <= 1.001 * np.sqrt(gradient.size)


def test_relative_epsilon_makes_the_direction_free_of_the_gradients_scale() -> None:
    gradient = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    options = sonew.Options(eps=1e-3, eps_scale="relative", graft="none")
    small = apply_once(options, {"w": jnp.asarray(gradient)})[0]["w"]
    large = apply_once(options, {"w": jnp.asarray(gradient * np.float32(1024))})[0]["w"]
    np.testing.assert_allclose(large * 1024, small, rtol=1e-5)


def test_tensors_do_not_influence_each_other() -> None:
    first, second = (jnp.asarray(np.random.default_rng(seed).normal(size=(3, 4)), jnp.float32) for seed in (0, 1))
    alone = apply_once(sonew.Options(), {"a": first})[0]["a"]
    together = apply_once(sonew.Options(), {"a": first, "b": second})[0]["a"]
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("band", [0, 1])
def test_state_is_band_plus_two_float32_numbers_a_parameter(band: int) -> None:
    params = {"w": jnp.ones((6, 5), jnp.bfloat16)}
    state = sonew.scale_by_sonew(sonew.Options(band=band)).init(params)
    leaves = jax.tree.leaves((state.mean, state.square, state.couplings))
    assert sum(leaf.size for leaf in leaves) == (band + 2) * 30
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_bfloat16_parameters_keep_their_dtype() -> None:
    grads = {"w": jnp.full((4, 3), 0.5, jnp.bfloat16)}
    transformation = sonew.build(sonew.Options(), 0.1)
    update, _ = jax.jit(transformation.update)(grads, transformation.init(grads), grads)
    assert optax.apply_updates(grads, update)["w"].dtype == jnp.bfloat16


def test_weight_decay_is_decoupled_and_times_the_learning_rate() -> None:
    params = {"w": jnp.full((2, 2), 3.0)}
    transformation = sonew.build(sonew.Options(weight_decay=0.5), 0.1)
    update, _ = jax.jit(transformation.update)({"w": jnp.zeros((2, 2))}, transformation.init(params), params)
    np.testing.assert_allclose(update["w"], -0.1 * 0.5 * 3.0, rtol=1e-6)
