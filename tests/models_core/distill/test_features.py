"""Feature matching against a plain float64 reference, and which way its gradients go."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.distill import features
from models_core.distill.options import Features
from models_core.distill.torch import features as torch_features
from models_core.errors import SpecInvalid
from models_core.nn.configs import DecoderConfig

NARROW = DecoderConfig(n_layers=2, d_model=6, n_heads=1, n_kv_heads=1, head_dim=4, d_ff=8, window=4)
WIDE = NARROW.model_copy(update={"d_model": 10, "n_layers": 3})
PAIRS = ((2, 3), (0, 1))


def states(layers: int, width: int, seed: int) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [draws.normal(size=(2, 5, width)).astype(np.float32) for _ in range(layers + 1)]


def reference(distance: str, projections: Any, ours: list[np.ndarray], theirs: list[np.ndarray]) -> np.ndarray:
    total = np.zeros(ours[0].shape[:-1])
    for (mine, wanted), projection in zip(PAIRS, projections, strict=True):
        a = ours[mine].astype(np.float64) @ np.asarray(projection, np.float64)
        b = theirs[wanted].astype(np.float64)
        if distance == "mse":
            total += ((a - b) ** 2).mean(axis=-1)
        else:
            total += 1 - (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return total / len(PAIRS)


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_the_distance_is_the_reference_and_pulls_student_and_projections_alone(distance: Any) -> None:
    options = Features(layers=PAIRS, distance=distance)
    projections = features.init(jax.random.key(0), options, NARROW, WIDE)
    ours, theirs = states(2, 6, 1), states(3, 10, 2)
    expected = reference(distance, projections, ours, theirs)

    def total(projections: Any, ours: Any, theirs: Any) -> Any:
        return jnp.sum(features.distance_tokens(options, projections, ours, theirs))

    as_jax = [[jnp.asarray(x) for x in parts] for parts in (ours, theirs)]
    found = features.distance_tokens(options, projections, *as_jax)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    by_projection, by_student, by_teacher = jax.grad(total, argnums=(0, 1, 2))(projections, *as_jax)
    assert all(np.any(grad) for grad in by_projection)
    assert [bool(np.any(grad)) for grad in by_student] == [True, False, True]
    assert not any(np.any(grad) for grad in by_teacher)

    held = [torch.tensor(np.asarray(p), requires_grad=True) for p in projections]
    mine, wanted = ([torch.tensor(x, requires_grad=True) for x in parts] for parts in (ours, theirs))
    value = torch_features.distance_tokens(options, held, mine, wanted)
    np.testing.assert_allclose(value.detach(), expected, rtol=1e-5)
    value.sum().backward()
    for tensor, grad in zip(held, by_projection, strict=True):
        np.testing.assert_allclose(tensor.grad, grad, rtol=1e-4, atol=1e-6)
    for tensor, grad in zip(mine, by_student, strict=True):
        np.testing.assert_allclose(0 if tensor.grad is None else tensor.grad, grad, rtol=1e-4, atol=1e-6)
    assert all(tensor.grad is None for tensor in wanted)


def test_equal_states_of_one_width_have_no_distance() -> None:
    for distance in ("mse", "cosine"):
        options = Features(layers=PAIRS, distance=distance)
        same = NARROW.model_copy(update={"n_layers": 3})
        projections = features.init(jax.random.key(0), options, same, same)
        held = [jnp.asarray(x) for x in states(3, 6, 1)]
        # The pairs name different layers: give both models one state everywhere.
        found = features.distance_tokens(options, projections, [held[0]] * 4, [held[0]] * 4)
        np.testing.assert_allclose(found, 0, atol=1e-6)


def test_a_layer_that_there_is_not_is_refused() -> None:
    with pytest.raises(SpecInvalid) as refusal:
        features.init(jax.random.key(0), Features(layers=((2, 4),)), NARROW, WIDE)
    assert list(refusal.value.fields) == ["features.layers"]
