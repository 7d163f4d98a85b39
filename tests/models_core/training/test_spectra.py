"""Kronecker factors of gradients: by hand, at their limits, and against noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.training import spectra

SHAPES = {"kernel": (12, 8), "bias": (8,), "filter": (1, 3, 9, 8)}
BETA2 = 0.9


def stream(count: int, rank: int | None = None) -> list[dict[str, Any]]:
    """Gradients; rank: of the kernel's, whose rows then lie in one fixed subspace."""
    generator = np.random.default_rng(0)
    basis = generator.normal(size=(12, rank)) if rank else np.eye(12)
    found = []
    for _ in range(count):
        grads = {name: generator.normal(size=shape) for name, shape in SHAPES.items()}
        grads["kernel"] = basis @ generator.normal(size=(basis.shape[1], 8))
        found.append({name: jnp.asarray(g, jnp.float32) for name, g in grads.items()})
    return found


def observed(gradients: list[dict[str, Any]], *, rank: int = 4) -> tuple[Any, Any]:
    watched = spectra.places(gradients[0], largest_axis=64)
    observer = spectra.observe(spectra.Watch(watched, BETA2, rank, jax.random.key(0)))
    state, update = observer.init(gradients[0]), jax.jit(observer.update)
    for grads in gradients:
        passed, state = update(grads, state)
        for name, g in grads.items():
            np.testing.assert_array_equal(passed[name], g)
    return watched, state


def test_axes_are_those_of_tensors_with_two_and_neither_too_short_nor_too_long() -> None:
    watched = spectra.places(stream(1)[0], largest_axis=11)
    assert [(place.name, place.axis, place.size) for place in watched] == [
        ("filter", 1, 9),
        ("filter", 2, 8),
        ("kernel", 1, 8),
    ]


def test_factors_are_discounted_sums_of_unfolded_gradients() -> None:
    gradients = stream(5)
    watched, state = observed(gradients)
    for place, factor in zip(watched, state.factors, strict=True):
        total = np.zeros((place.size, place.size))
        for grads in gradients:
            tensor = np.asarray(grads[place.name], np.float64).reshape(place.shape)
            unfolded = np.moveaxis(tensor, place.axis, 0).reshape(place.size, -1)
            total = BETA2 * total + unfolded @ unfolded.T
        np.testing.assert_allclose(factor.factor, total, rtol=1e-4, atol=1e-4)


def test_a_gradient_of_low_rank_is_all_captured_and_one_of_full_rank_is_not() -> None:
    watched, state = observed(stream(12, rank=2))
    rows = next(pair for pair in zip(watched, state.factors, strict=True) if pair[0].shape == (12, 8))
    low, values, leading = spectra.measure(12, *rows, None)
    assert low.captured == pytest.approx(1, abs=1e-4)
    assert low.capturable == pytest.approx(1, abs=1e-6)
    assert low.escaped == pytest.approx(0, abs=1e-4)
    assert low.intrinsic_dimension <= 2
    assert values[2:].max() < 1e-6
    assert values.sum() == pytest.approx(1)
    assert leading.shape == (12, 3)

    watched, state = observed(stream(12))
    rows = next(pair for pair in zip(watched, state.factors, strict=True) if pair[0].shape == (12, 8))
    full, _, _ = spectra.measure(12, *rows, None)
    assert 0 < full.captured < full.capturable < 0.9
    # What is not captured was cut: the sketch of k directions loses at least k + 1 times the escaped mass.
    assert full.captured + (4 + 1) * full.escaped <= 1 + 1e-4
    # Noise is as concentrated as noise.
    assert full.top_share == pytest.approx(full.control_share, abs=0.1)


def test_a_sketch_as_large_as_the_axis_captures_everything() -> None:
    watched, state = observed(stream(6), rank=64)
    for place, factor in zip(watched, state.factors, strict=True):
        assert spectra.measure(6, place, factor, None)[0].captured == pytest.approx(1, abs=1e-4)


def test_overlap_is_one_with_itself_and_the_share_by_chance_with_the_rest() -> None:
    watched, state = observed(stream(6))
    place, factor = watched[0], state.factors[0]
    first, _, leading = spectra.measure(6, place, factor, None)
    assert first.overlap is None
    assert spectra.measure(7, place, factor, leading)[0].overlap == pytest.approx(1, abs=1e-5)
    everything = np.linalg.qr(np.random.default_rng(1).normal(size=(place.size, place.size)))[0]
    top = leading.shape[1]
    overlaps = [
        spectra.measure(7, place, factor, everything[:, start : start + top])[0].overlap
        for start in range(0, place.size - top + 1, top)
    ]
    # Blocks of an orthonormal basis share the leading directions out between them.
    assert sum(overlaps) <= 1 + 1e-5
    assert all(0 < overlap < 1 for overlap in overlaps)


def test_before_any_gradient_shares_are_zero_and_nothing_is_undefined() -> None:
    watched = spectra.places(stream(1)[0], largest_axis=64)
    zeros = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}
    observer = spectra.observe(spectra.Watch(watched, BETA2, 4, jax.random.key(0)))
    _, state = observer.update(zeros, observer.init(zeros))
    found = spectra.measure(1, watched[0], state.factors[0], None)[0]
    assert found.top_share == found.captured == found.escaped == 0
    assert np.isfinite(found.intrinsic_dimension)
