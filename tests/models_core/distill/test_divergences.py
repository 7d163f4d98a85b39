"""Every divergence: float64 formulas, gradients by hand or by numbers, PyTorch's twin, and what must hold of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.distill import losses
from models_core.distill.chunked import flatten_tokens, token_sums
from models_core.distill.options import (
    Divergence,
    ForwardKL,
    HardLabels,
    JensenShannon,
    Mapped,
    ReverseKL,
    SkewedKL,
    SymmetricKL,
    TotalVariation,
)
from models_core.distill.torch import losses as torch_losses
from models_core.distill.vocabularies import check_tokenizers, fit_rows
from models_core.errors import SpecInvalid

# Rounding of float32 over eleven terms.
CLOSE = 3e-6
ALL: list[Divergence] = [
    ForwardKL(),
    ReverseKL(),
    SymmetricKL(),
    JensenShannon(beta=0.5),
    JensenShannon(beta=0.1),
    JensenShannon(beta=0.0),
    JensenShannon(beta=1.0),
    SkewedKL(),
    SkewedKL(alpha=0.0),
    TotalVariation(),
    Mapped(),
]


def named(divergence: Divergence) -> str:
    return divergence.canonical_json()


def case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    teacher, student = np.random.default_rng(seed).normal(size=(2, 6, 11)) * 2
    return teacher, student


def soft(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def by_hand(divergence: Divergence, teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    p, q = soft(teacher / divergence.temperature), soft(student / divergence.temperature)

    def kl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a * np.log(a / b)).sum(axis=-1)

    value = {
        "forward_kl": lambda d: kl(p, q),
        "reverse_kl": lambda d: kl(q, p),
        "symmetric_kl": lambda d: (kl(p, q) + kl(q, p)) / 2,
        "jensen_shannon": lambda d: {0.0: kl(p, q), 1.0: kl(q, p)}.get(
            d.beta,
            d.beta * kl(p, d.beta * p + (1 - d.beta) * q) + (1 - d.beta) * kl(q, d.beta * p + (1 - d.beta) * q),
        ),
        "skewed_kl": lambda d: kl(p, d.alpha * p + (1 - d.alpha) * q),
        "total_variation": lambda d: np.abs(p - q).sum(axis=-1) / 2,
        "sorted": lambda d: np.abs(np.sort(p, axis=-1) - np.sort(q, axis=-1)).sum(axis=-1),
    }[divergence.mode](divergence)
    return value * {True: divergence.temperature**2, False: 1.0}[divergence.t_squared]


def f32(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize("divergence", ALL, ids=named)
@pytest.mark.parametrize(("temperature", "t_squared"), [(1.0, True), (0.25, False), (3.0, True)])
def test_value_and_gradient_match_float64_and_pytorch(
    divergence: Divergence, temperature: float, t_squared: bool
) -> None:
    divergence = divergence.model_copy(update={"temperature": temperature, "t_squared": t_squared})
    teacher, student = case()
    value, grad = jax.value_and_grad(lambda s: jnp.sum(losses.divergence_tokens(divergence, f32(teacher), s)))(
        f32(student)
    )
    np.testing.assert_allclose(value, by_hand(divergence, teacher, student).sum(), rtol=CLOSE)
    step = 1e-6
    numbers = np.empty_like(student)
    for place in np.ndindex(*student.shape):
        up, down = student.copy(), student.copy()
        up[place] += step
        down[place] -= step
        difference = by_hand(divergence, teacher, up) - by_hand(divergence, teacher, down)
        numbers[place] = difference.sum() / (2 * step)
    np.testing.assert_allclose(grad, numbers, atol=2e-5 * max(1.0, np.abs(numbers).max()))

    given = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    asked = torch.tensor(teacher, dtype=torch.float32, requires_grad=True)
    theirs = torch_losses.divergence_tokens(divergence, asked, given).sum()
    theirs.backward()
    assert asked.grad is None
    assert given.grad is not None
    np.testing.assert_allclose(theirs.item(), value, rtol=CLOSE)
    np.testing.assert_allclose(given.grad.numpy(), grad, atol=1e-5 * max(1.0, np.abs(numbers).max()))


@pytest.mark.parametrize("divergence", ALL, ids=named)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_teacher_equal_to_student_costs_nothing_and_pulls_nowhere(divergence: Divergence, temperature: float) -> None:
    teacher, _ = case()
    divergence = divergence.model_copy(update={"temperature": temperature})
    value, grad = jax.value_and_grad(lambda s: jnp.sum(losses.divergence_tokens(divergence, f32(teacher), s)))(
        f32(teacher)
    )
    assert abs(float(value)) < 1e-5
    # |x| has no slope at 0: rounding decides a sign there, which times a small probability is what is left.
    assert np.abs(grad).max() < 2e-6


def test_jensen_shannon_is_symmetric_and_bounded_by_log_two() -> None:
    teacher, student = (f32(x * 20) for x in case())
    half = JensenShannon(beta=0.5)
    there, back = losses.divergence_tokens(half, teacher, student), losses.divergence_tokens(half, student, teacher)
    np.testing.assert_allclose(there, back, rtol=1e-5)
    assert np.all(np.asarray(there) <= np.log(2) + 1e-6)
    assert np.asarray(there).max() > 0.6


def test_jensen_shannon_jumps_at_its_ends_as_documented() -> None:
    teacher, student = (f32(x) for x in case())
    near = losses.divergence_tokens(JensenShannon(beta=1e-4), teacher, student)
    at = losses.divergence_tokens(JensenShannon(beta=0.0), teacher, student)
    assert np.all(np.asarray(near) < 1e-2 * np.asarray(at))
    # The scale is what jumps: divided by beta the limit is forward KL.
    np.testing.assert_allclose(np.asarray(near) / 1e-4, at, rtol=5e-2)


@pytest.mark.parametrize("divergence", [ForwardKL(), JensenShannon(), SkewedKL(), TotalVariation()], ids=named)
def test_rows_the_teacher_does_not_have_get_no_probability(divergence: Divergence) -> None:
    teacher, student = (f32(x) for x in case())
    theirs, ours = fit_rows(divergence, teacher[:, :8], student)
    value, grad = jax.value_and_grad(lambda s: jnp.sum(losses.divergence_tokens(divergence, theirs, s)))(ours)
    assert np.isfinite(value)
    # Mass on ids that do not exist is pushed away.
    assert np.all(np.asarray(grad)[:, 8:] >= 0)
    assert np.asarray(grad)[:, 8:].max() > 0


def test_other_differences_of_rows_are_cut() -> None:
    teacher, student = (f32(x) for x in case())
    theirs, ours = fit_rows(ForwardKL(), teacher, student[:, :8])
    assert theirs.shape == ours.shape == (6, 8)
    theirs, ours = fit_rows(ReverseKL(), teacher[:, :8], student)
    assert np.all(np.isfinite(losses.divergence_tokens(ReverseKL(), theirs, ours)))


def test_across_tokenizers_only_sorted_probabilities_are_allowed() -> None:
    with pytest.raises(SpecInvalid) as refusal:
        check_tokenizers("bytes", "ascii", ForwardKL())
    assert list(refusal.value.fields) == ["distillation.mode"]
    check_tokenizers("bytes", "ascii", Mapped())
    check_tokenizers("bytes", "ascii", HardLabels())
    check_tokenizers("bytes", "bytes", ForwardKL())


def test_sorted_probabilities_do_not_see_a_permutation_and_pad_the_smaller_vocabulary() -> None:
    teacher, student = case()
    order = np.random.default_rng(1).permutation(11)
    one, other = (losses.divergence_tokens(Mapped(), f32(t), f32(student)) for t in (teacher, teacher[:, order]))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    p, q = soft(teacher[:, :4]), soft(student)
    ranked = np.concatenate([-np.sort(-p), np.zeros((6, 7))], axis=1) + np.sort(-q)
    got = losses.divergence_tokens(Mapped(), f32(teacher[:, :4]), f32(student))
    np.testing.assert_allclose(got, np.abs(ranked).sum(axis=-1), rtol=1e-5)


@pytest.mark.parametrize("chunk", [0, 1, 4, 7, 12, 100])
def test_pieces_give_the_loss_and_gradient_of_the_whole(chunk: int) -> None:
    generator = np.random.default_rng(2)
    x, wanted = (f32(part) for part in generator.normal(size=(2, 3, 4, 8)))
    embedding, frozen = (f32(part) for part in generator.normal(size=(2, 13, 8)))
    valid = jnp.asarray(generator.integers(0, 2, (3, 4)), jnp.float32)

    def loss(x: jax.Array, embedding: jax.Array, chunk: int) -> jax.Array:
        def body(piece: dict[str, jax.Array]) -> dict[str, jax.Array]:
            values = losses.divergence_tokens(ForwardKL(), piece["wanted"] @ frozen.T, piece["x"] @ embedding.T)
            return {"sum": jnp.sum(values * piece["valid"]), "count": jnp.sum(piece["valid"])}

        sums = token_sums(body, flatten_tokens({"x": x, "wanted": wanted, "valid": valid}), chunk=chunk)
        return sums["sum"] / sums["count"]

    whole = jax.value_and_grad(loss, argnums=(0, 1))(x, embedding, 0)
    pieces = jax.value_and_grad(loss, argnums=(0, 1))(x, embedding, chunk)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, pieces)

    def torch_body(x: torch.Tensor, wanted: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch_losses.divergence_tokens(ForwardKL(), wanted @ torch_frozen.T, x @ torch_embedding.T)
        return (values * valid).sum(), valid.sum()

    torch_embedding = torch.tensor(np.array(embedding), requires_grad=True)
    torch_frozen = torch.tensor(np.array(frozen))
    parts = tuple(torch.tensor(np.array(part)).flatten(0, 1) for part in (x, wanted, valid))
    total, count = torch_losses.token_sums(torch_body, parts, chunk=chunk)
    (total / count).backward()
    assert torch_embedding.grad is not None
    np.testing.assert_allclose(torch_embedding.grad.numpy(), whole[1][1], atol=1e-6)


def test_pieces_take_less_memory_than_the_whole() -> None:
    x, embedding = jnp.ones((512, 16)), jnp.ones((2048, 16))

    def loss(x: jax.Array, embedding: jax.Array, chunk: int) -> jax.Array:
        def body(piece: dict[str, jax.Array]) -> dict[str, jax.Array]:
            logits = piece["x"] @ embedding.T
            return {"sum": jnp.sum(losses.divergence_tokens(ForwardKL(), 2 * logits, logits))}

        return token_sums(body, {"x": x}, chunk=chunk)["sum"]

    used = [
        jax.jit(jax.grad(lambda a, b, chunk=chunk: loss(a, b, chunk), argnums=(0, 1)))
        .lower(x, embedding)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for chunk in (0, 32)
    ]
    assert used[1] * 4 < used[0]
