"""First-order methods against a few steps by hand, in float64."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from models_core import optim

STREAM = np.random.default_rng(0).normal(size=(4, 3))
# Rounding of float64; OGD's step size is computed in float32.
EXACT = 1e-6


def by_hand_rmsprop() -> np.ndarray:
    v = 0.0
    for g in STREAM:
        v = 0.9 * v + 0.1 * g**2
    return STREAM[-1] / (np.sqrt(v) + 1e-8)


def by_hand_adagrad() -> np.ndarray:
    return STREAM[-1] / np.sqrt((STREAM**2).sum(axis=0))


def by_hand_lion() -> np.ndarray:
    m = 0.0
    for g in STREAM:
        step, m = np.sign(0.9 * m + 0.1 * g), 0.99 * m + 0.01 * g
    return step


def by_hand_ogd() -> np.ndarray:
    return STREAM[-1] / 2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("name", "by_hand"),
    [("rmsprop", by_hand_rmsprop), ("adagrad", by_hand_adagrad), ("lion", by_hand_lion), ("ogd", by_hand_ogd)],
)
def test_fourth_step_is_that_of_the_formula(name, by_hand) -> None:
    transformation = optim.build(optim.optimizers()[name](), 0.5)
    state = transformation.init(jnp.zeros(3))
    for g in STREAM:
        update, state = transformation.update(jnp.asarray(g), state, jnp.zeros(3))
    np.testing.assert_allclose(update, -0.5 * by_hand(), rtol=EXACT)
