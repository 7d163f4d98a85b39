"""Distillation losses against float64 formulas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models_core.distill import losses

# Rounding of float32 sums over eleven terms.
CLOSE = 2e-6


def case(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    teacher, student = generator.normal(size=(2, 3, 5, 11)) * 2
    targets = generator.integers(0, 11, (3, 5))
    valid = (generator.uniform(size=(3, 5)) < 0.7).astype(float)
    return teacher, student, targets, valid


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def f32(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("t_squared", [True, False])
def test_forward_kl_matches_float64(temperature: float, t_squared: bool) -> None:
    teacher, student, _, valid = case()
    log_p, log_q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    per_token = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    expected = (per_token * valid).sum() / valid.sum() * {True: temperature**2, False: 1.0}[t_squared]
    got = losses.forward_kl(f32(teacher), f32(student), f32(valid), temperature=temperature, t_squared=t_squared)
    np.testing.assert_allclose(got, expected, rtol=CLOSE)


def test_cross_entropy_matches_float64() -> None:
    _, student, targets, valid = case()
    nll = -np.take_along_axis(log_softmax(student), targets[..., None], axis=-1)[..., 0]
    got = losses.cross_entropy(f32(student), jnp.asarray(targets, jnp.int32), f32(valid))
    np.testing.assert_allclose(got, (nll * valid).sum() / valid.sum(), rtol=CLOSE)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_student_equal_to_teacher_has_no_loss_and_no_gradient(temperature: float) -> None:
    teacher, _, _, valid = case()
    value, grad = jax.value_and_grad(
        lambda student: losses.forward_kl(f32(teacher), student, f32(valid), temperature=temperature)
    )(f32(teacher))
    assert abs(float(value)) < 1e-6
    assert np.abs(grad).max() < 1e-6


def test_teacher_gets_no_gradient() -> None:
    teacher, student, _, valid = case()
    grad = jax.grad(lambda t: losses.forward_kl(t, f32(student), f32(valid)))(f32(teacher))
    assert np.all(np.asarray(grad) == 0)


def test_gradients_of_kl_and_cross_entropy_with_the_teacher_agree() -> None:
    teacher, student, _, valid = case()
    p = jax.nn.softmax(f32(teacher))

    def soft_cross_entropy(logits: jax.Array) -> jax.Array:
        return losses.token_mean(-jnp.sum(p * jax.nn.log_softmax(logits), axis=-1), f32(valid))

    kl = jax.grad(lambda logits: losses.forward_kl(f32(teacher), logits, f32(valid)))(f32(student))
    np.testing.assert_allclose(kl, jax.grad(soft_cross_entropy)(f32(student)), atol=1e-7)


def test_high_temperature_with_t_squared_matches_centred_logits() -> None:
    teacher, student, _, _ = case()
    teacher, student = (x - x.mean(axis=-1, keepdims=True) for x in (teacher, student))
    one = np.ones((3, 5))
    grad = jax.grad(lambda s: losses.forward_kl(f32(teacher), s, f32(one), temperature=300.0))(f32(student))
    np.testing.assert_allclose(np.asarray(grad) * 15, (student - teacher) / 11, atol=5e-3)


def test_unequal_rows_count_by_token_not_by_row() -> None:
    _, student, targets, _ = case()
    valid = np.zeros((3, 5))
    valid[0] = 1
    valid[1, 0] = 1
    nll = -np.take_along_axis(log_softmax(student), targets[..., None], axis=-1)[..., 0]
    got = losses.cross_entropy(f32(student), jnp.asarray(targets, jnp.int32), f32(valid))
    np.testing.assert_allclose(got, (nll[0].sum() + nll[1, 0]) / 6, rtol=CLOSE)


def test_nothing_valid_is_zero_not_nan() -> None:
    _, student, targets, _ = case()
    assert float(losses.cross_entropy(f32(student), jnp.asarray(targets, jnp.int32), jnp.zeros((3, 5)))) == 0


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 2.0), (1.0, 6.0), (0.25, 3.0)])
def test_mixing(weight: float, expected: float) -> None:
    assert float(losses.mixed(jnp.float32(2.0), jnp.float32(6.0), soft_weight=weight)) == expected
