"""Sparse targets: which of the four is unbiased, what k = vocabulary reduces to, and the missing mass."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_core.distill import losses, sparse
from models_core.distill.options import ForwardKL, Gumbel, Sampled, SampledUnique, Sparse, TopK
from models_core.distill.torch import sparse as torch_sparse
from models_core.errors import SpecInvalid

VOCABULARY = 40
KINDS: list[type[Sparse]] = [Sampled, SampledUnique, Gumbel, TopK]
DRAWS = 4000


def zipf() -> np.ndarray:
    weights = 1 / np.arange(1, VOCABULARY + 1)
    return weights / weights.sum()


def logits(rows: int) -> jax.Array:
    return jnp.asarray(np.log(np.tile(zipf(), (rows, 1))), jnp.float32)


def some(rows: int = 5, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    teacher, student = np.random.default_rng(seed).normal(size=(2, rows, VOCABULARY)) * 2
    return jnp.asarray(teacher, jnp.float32), jnp.asarray(student, jnp.float32)


def z_scores(written: np.ndarray) -> np.ndarray:
    spread = written.std(axis=0, ddof=1) / np.sqrt(len(written))
    return (written.mean(axis=0) - zipf()) / np.maximum(spread, 1e-12)


def drawn(options: Sparse, framework: str) -> np.ndarray:
    if framework == "jax":
        targets = sparse.draw(options, jax.random.key(1), logits(DRAWS))
        return np.asarray(sparse.dense(options, targets, VOCABULARY))
    generator = torch.Generator().manual_seed(1)
    found = torch_sparse.draw(options, generator, torch.tensor(np.array(logits(DRAWS))))
    targets = sparse.SparseTargets(*(jnp.asarray(part.numpy()) for part in found))
    return np.asarray(sparse.dense(options, targets, VOCABULARY))


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_counts_have_the_teachers_mean(framework: str) -> None:
    z = z_scores(drawn(Sampled(k=8), framework))
    # The largest of forty standard normal numbers is below 4.5 except once in three thousand; the seed is fixed.
    assert np.abs(z).max() < 4.5
    assert (z**2).sum() < 90


@pytest.mark.parametrize("framework", ["jax", "torch"])
@pytest.mark.parametrize("kind", [SampledUnique, Gumbel, TopK])
def test_the_others_do_not(kind: type[Sparse], framework: str) -> None:
    written = drawn(kind(k=8), framework)
    assert np.abs(written.mean(axis=0) - zipf()).sum() / 2 > 0.1
    assert np.abs(z_scores(written)).max() > 20


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_a_distribution_over_sorted_ids(kind: type[Sparse]) -> None:
    options = kind(k=12)
    targets = sparse.draw(options, jax.random.key(0), some()[0])
    weights, tail = sparse.probabilities(options, targets)
    np.testing.assert_allclose(jnp.sum(weights, axis=-1) + tail, 1, rtol=1e-6)
    for ids, row in zip(np.asarray(targets.ids), np.asarray(weights), strict=True):
        used = int((row > 0).sum())
        assert np.all(row[:used] > 0)
        assert np.all(np.diff(ids[:used]) > 0)
        assert np.all(ids[used:] == 0)


@pytest.mark.parametrize("missing", ["zero", "spread", "rest"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_top_k_of_everything_is_forward_kl(missing: str, temperature: float) -> None:
    teacher, student = some()
    options = TopK.parse({"k": VOCABULARY, "missing": missing, "precision": "float32"})
    targets = sparse.draw(options, jax.random.key(0), teacher, temperature=temperature)
    value, grad = jax.value_and_grad(
        lambda s: jnp.sum(sparse.sparse_tokens(options, targets, s, temperature=temperature))
    )(student)
    whole, whole_grad = jax.value_and_grad(
        lambda s: jnp.sum(losses.divergence_tokens(ForwardKL(temperature=temperature), teacher, s))
    )(student)
    np.testing.assert_allclose(value, whole, rtol=1e-4)
    np.testing.assert_allclose(grad, whole_grad, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_mass_outside_of_the_support_costs(kind: type[Sparse]) -> None:
    teacher, student = some()
    options = kind(k=6)
    targets = sparse.draw(options, jax.random.key(0), teacher)
    weights, _ = sparse.probabilities(options, targets)
    inside = np.zeros(student.shape, bool)
    for row in range(len(inside)):
        inside[row, np.asarray(targets.ids)[row][np.asarray(weights)[row] > 0]] = True
    shifted = jnp.where(jnp.asarray(inside), student, student + 5)
    before, after = (sparse.sparse_tokens(options, targets, s) for s in (student, shifted))
    assert np.all(np.asarray(after) > np.asarray(before))


@pytest.mark.parametrize("kind", [SampledUnique, Gumbel, TopK])
def test_one_bucket_is_zero_at_equality_never_negative_and_what_spreading_both_gives(kind: type[Sparse]) -> None:
    teacher, student = some(rows=30)
    options = kind.parse({"k": 6, "missing": "rest", "precision": "float32"})
    targets = sparse.draw(options, jax.random.key(0), teacher)
    np.testing.assert_allclose(sparse.sparse_tokens(options, targets, teacher), 0, atol=2e-5)
    values = np.asarray(sparse.sparse_tokens(options, targets, student))
    assert values.min() >= 0
    # DistillKit's form, by hand: the missing mass of both models spread evenly over the missing ids.
    weights, tail = (np.asarray(x, np.float64) for x in sparse.probabilities(options, targets))
    q = np.asarray(jax.nn.softmax(student), np.float64)
    for row, value in enumerate(values):
        used = weights[row] > 0
        ids, others = np.asarray(targets.ids)[row][used], VOCABULARY - used.sum()
        p_even, q_even = tail[row] / others, (1 - q[row, ids].sum()) / others
        by_hand = (weights[row][used] * np.log(weights[row][used] / q[row, ids])).sum()
        by_hand += others * p_even * np.log(p_even / q_even)
        np.testing.assert_allclose(value, by_hand, rtol=1e-4, atol=1e-6)


def test_spread_mass_is_the_divergence_from_the_written_out_target() -> None:
    teacher, student = some()
    options = TopK.parse({"k": 6, "missing": "spread"})
    targets = sparse.draw(options, jax.random.key(0), teacher)
    target = jnp.log(sparse.dense(options, targets, VOCABULARY))
    expected = losses.divergence_tokens(ForwardKL(), target, student)
    np.testing.assert_allclose(sparse.sparse_tokens(options, targets, student), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", ["zero", "spread", "rest"])
def test_pytorch_agrees(kind: type[Sparse], missing: str) -> None:
    teacher, student = some()
    options = kind.parse({"k": 6} | {name: missing for name in ["missing"] if name in kind.model_fields})
    targets = sparse.draw(options, jax.random.key(0), teacher)
    value, grad = jax.value_and_grad(
        lambda s: jnp.sum(sparse.sparse_tokens(options, targets, s, temperature=2.0, t_squared=False))
    )(student)
    given = torch.tensor(np.array(student), requires_grad=True)
    theirs = torch_sparse.sparse_tokens(
        options, torch_sparse.slots(*(np.array(part) for part in targets)), given, temperature=2.0, t_squared=False
    ).sum()
    theirs.backward()
    assert given.grad is not None
    np.testing.assert_allclose(theirs.item(), value, rtol=1e-5)
    np.testing.assert_allclose(given.grad.numpy(), grad, atol=1e-5)


def test_deterministic_top_k_of_both_frameworks_takes_the_same_ids_also_in_ties() -> None:
    teacher = jnp.round(some()[0])
    one = sparse.draw(TopK(k=9), jax.random.key(0), teacher)
    other = torch_sparse.draw(TopK(k=9), torch.Generator(), torch.tensor(np.array(teacher)))
    np.testing.assert_array_equal(one.ids, other.ids.numpy())


def test_more_ids_than_there_are_is_refused_and_more_draws_are_not() -> None:
    with pytest.raises(SpecInvalid) as refusal:
        sparse.draw(TopK(k=VOCABULARY + 1), jax.random.key(0), some()[0])
    assert list(refusal.value.fields) == ["targets.k"]
    counts = sparse.draw(Sampled(k=300), jax.random.key(0), some()[0]).values
    np.testing.assert_array_equal(jnp.sum(counts, axis=-1), 300)
