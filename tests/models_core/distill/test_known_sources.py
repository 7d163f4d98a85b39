"""Experiments whose truth is known: calibration, the Markov source, bias and variance, and what both recipes find."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from models_core.catalog import recipe
from models_core.distill import calibration, known_source
from models_core.events import Artifact, Context, Metric


def test_calibration_error_by_hand() -> None:
    # Two tokens at confidence 0.75 (one right), one at 0.9 (right): gaps 1.5 - 1 and 0.9 - 1 over three tokens.
    logits = jnp.log(jnp.asarray([[0.75, 0.25], [0.75, 0.25], [0.1, 0.9]], jnp.float32))
    sums = calibration.confidence_gaps(logits, jnp.asarray([0, 1, 1]), jnp.ones(3))
    means = {name: float(value) / 3 for name, value in sums.items()} | {"eval/nll": 1.0}
    found = calibration.error_of(means, "error")
    assert found.keys() == {"eval/nll", "error"}
    np.testing.assert_allclose(found["error"], (0.5 + 0.1) / 3, rtol=1e-5)


def test_a_token_that_does_not_count_changes_no_calibration() -> None:
    logits = jnp.asarray([[3.0, 0.0], [0.0, 5.0]], jnp.float32)
    one = calibration.confidence_gaps(logits, jnp.asarray([1, 0]), jnp.asarray([1.0, 0.0]))
    other = calibration.confidence_gaps(logits, jnp.asarray([1, 1]), jnp.asarray([1.0, 0.0]))
    assert {k: float(v) for k, v in one.items()} == {k: float(v) for k, v in other.items()}


def test_calibration_against_a_known_distribution() -> None:
    p = np.array([[0.5, 0.25, 0.125, 0.125]])
    assert calibration.known_error(p, p) == 0
    # All four in bins of their own but the last two, whose gaps cancel: calibrated there, though wrong.
    assert calibration.known_error(p, np.array([[0.5, 0.25, 0.13, 0.12]])) < 0.006
    q = np.array([[0.9, 0.06, 0.03, 0.01]])
    np.testing.assert_allclose(calibration.known_error(p, q), np.abs(p - q).sum() / 2)


def test_the_sources_frequencies_are_those_of_a_text_that_it_writes() -> None:
    source = known_source.markov_source(0, symbols=4, rank=2, roughness=1.0)
    np.testing.assert_allclose(source.p.sum(axis=1), 1)
    np.testing.assert_allclose(source.frequency.sum(), 1)
    moved = np.einsum("ab,abc->bc", source.frequency.reshape(4, 4), source.p.reshape(4, 4, 4)).reshape(-1)
    np.testing.assert_allclose(moved, source.frequency, atol=1e-12)
    generator, pair, seen = np.random.default_rng(0), 0, np.zeros(16)
    for u in generator.uniform(size=40_000):
        following = min(int(np.searchsorted(np.cumsum(source.p[pair]), u)), 3)
        pair = pair % 4 * 4 + following
        seen[pair] += 1
    # Ten standard deviations of a share of 40,000 draws, correlated as they are.
    np.testing.assert_allclose(seen / seen.sum(), source.frequency, atol=0.025)


def test_without_roughness_the_source_has_its_rank() -> None:
    source = known_source.markov_source(1, symbols=6, rank=2, roughness=0.0)
    logits = np.log(source.p)
    # Up to a constant for each context, which adds one.
    assert np.linalg.matrix_rank(logits, tol=1e-9) == 3


def test_bias_and_variance_add_up_to_the_mean_square() -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(5), 7)
    log_q = np.log(generator.dirichlet(np.ones(5), (30, 7)))
    parts = known_source.decompose(p, log_q)
    mean_square = (p * ((log_q - np.log(p)) ** 2).mean(axis=0)).sum(axis=1)
    np.testing.assert_allclose(parts.bias_squared + parts.variance, mean_square)
    np.testing.assert_allclose(parts.excess, (p * (np.log(p) - log_q)).sum(axis=2).mean(axis=0))
    exact = known_source.decompose(p, np.tile(np.log(p), (3, 1, 1)))
    np.testing.assert_allclose([*exact], 0, atol=1e-12)


def test_tenths_are_ordered_and_complete() -> None:
    values = np.random.default_rng(0).normal(size=57)
    groups = known_source.deciles(values)
    assert len(groups) == 10
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(57))
    assert all(values[a].max() <= values[b].min() for a, b in pairwise(groups))


def last(name: str, spec: dict[str, Any]) -> dict[str, float]:
    found, values = recipe(name), {}
    for event in found.run(found.parse(spec), Context(seed=2)):
        if isinstance(event, Metric):
            values.update(event.values)
        if isinstance(event, Artifact) and event.name.endswith(".csv"):
            assert len(event.content.splitlines()) > 10
    return values


SPARSE = {"vocabulary": 200, "contexts": 4, "batch_size": 64, "steps": 60, "eval_every": 60, "warmup_steps": 1}


def test_only_counts_are_at_the_noise_floor_and_teach_the_teachers_distribution() -> None:
    found = {
        kind: last("sparse_targets", {**SPARSE, "targets": {"kind": kind, "k": 8, "precision": "float32"}})
        for kind in ("sampled", "sampled_unique", "top_k")
    }
    counts = found.pop("sampled")
    assert counts["bias/total_variation"] < 1.3 * counts["bias/noise_floor"]
    for values in found.values():
        assert values["bias/total_variation"] > 10 * values["bias/noise_floor"]
        assert values["bias/total_variation"] > 0.2
        # The bias is learnt: probabilities of the ids ranked first are too high.
        assert values["student/calibration_error"] > counts["student/calibration_error"]
        assert values["student/forward_kl"] > counts["student/forward_kl"]
    assert found["top_k"]["bias/noise_floor"] < 1e-6
    assert found["top_k"]["targets/entries"] == 8
    assert counts["targets/entries"] < 8


def test_top_k_of_everything_has_no_bias() -> None:
    values = last(
        "sparse_targets",
        {**SPARSE, "vocabulary": 40, "steps": 3, "targets": {"kind": "top_k", "k": 40, "precision": "float32"}},
    )
    assert values["bias/total_variation"] < 1e-6
    np.testing.assert_allclose(values["targets/covered"], 1, rtol=1e-5)


MARKOV = {
    "symbols": 6,
    "source_rank": 1,
    "students": 16,
    "teacher_rank": 1,
    "student_rank": 6,
    "teacher_steps": 150,
    "student_steps": 300,
    "eval_every": 300,
    "batch_size": 64,
    "roughness": 2.0,
}


def test_a_teacher_trades_variance_for_its_bias() -> None:
    symbols, truth, teacher = (
        last("bias_variance", {**MARKOV, "labels": labels}) for labels in ("symbols", "truth", "teacher")
    )
    assert truth["variance/all"] < symbols["variance/all"] / 2
    assert teacher["variance/all"] < symbols["variance/all"] / 2
    assert truth["excess/all"] < symbols["excess/all"] < teacher["excess/all"]
    # The bias is where the teacher errs, and is about the teacher's own.
    assert teacher["bias_squared/tenth_10"] > 3 * teacher["bias_squared/tenth_1"]
    np.testing.assert_allclose(teacher["excess/all"], teacher["teacher/excess"], rtol=0.1)
    errors = [teacher[f"teacher/error_{tenth}"] for tenth in range(1, 11)]
    assert errors == sorted(errors)


def test_weight_zero_is_learning_from_symbols() -> None:
    short = {**MARKOV, "teacher_steps": 20, "student_steps": 20, "eval_every": 20, "warmup_steps": 2}
    one, other = (last("bias_variance", {**short, **more}) for more in ({"labels": "symbols"}, {"soft_weight": 0.0}))
    assert one["excess/all"] == other["excess/all"]


@pytest.mark.parametrize(
    ("name", "spec", "field"),
    [
        ("sparse_targets", {"batch_size": 9}, "batch_size"),
        ("sparse_targets", {"targets": {"kind": "top_k", "k": 5000}}, "targets.k"),
        ("sparse_targets", {"targets": {"kind": "top_k", "cached": True}}, "targets.cached"),
        ("bias_variance", {"optimizer": {"kind": "sonew"}}, "optimizer.kind"),
        ("salt", {"t_squared": True}, "t_squared"),
    ],
)
def test_combinations_without_a_meaning_are_refused_by_name(name: str, spec: dict[str, Any], field: str) -> None:
    from models_core.errors import SpecInvalid

    with pytest.raises(SpecInvalid) as refusal:
        recipe(name).parse(spec)
    assert list(refusal.value.fields) == [field]
