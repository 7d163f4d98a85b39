"""Whole runs of the recipes on images and known sources in PyTorch are the runs in JAX; drawn targets have one law."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load

from models_core.benches.plain.shifted import ShiftedImages
from models_core.catalog import recipe
from models_core.data import digits
from models_core.distill import calibration, sparse
from models_core.distill.options import Gumbel, Sampled, SampledUnique, Sparse, TopK
from models_core.distill.torch import sparse as torch_sparse
from models_core.events import Checkpoint, Context, Event
from support.run_events import files, numbers

SHORT = {"teacher_steps": 2, "student_steps": 3, "warmup_steps": 0, "eval_every": 2, "checkpoint_every": 1}
IMAGES = {
    **SHORT,
    "data": "digits",
    "batch_size": 16,
    "teacher": {"kind": "cnn", "channels": [4], "hidden": 8},
    "student": {"kind": "mlp", "hidden": [8]},
}
MARKOV = {**SHORT, "symbols": 5, "students": 3, "teacher_rank": 1, "student_rank": 4, "batch_size": 8}
ZIPF = {"vocabulary": 60, "contexts": 2, "batch_size": 16, "steps": 3, "eval_every": 3, "warmup_steps": 0}
# Five steps of float32 in two frameworks; a missing factor or a batch out of order shows at 1e-2.
CLOSE = 2e-4
# Whether a probability falls on this side of a bin's edge, or an image on this side of a class's, is rounding's choice.
# The noise of targets that do not vary is the root of a difference of rounded sums.
COARSE = {"bias/noise_floor": 30, "eval/calibration_error": 3e-2, "eval/accuracy": 5e-3, "eval/agreement": 5e-3}


def events(name: str, spec: dict[str, Any], resume: Checkpoint | None = None) -> list[Event]:
    found = recipe(name)
    return list(found.run(found.parse(spec), Context(seed=1, resume=resume)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("image_distillation", {**IMAGES, "omitted_class": 3, "schedule": {"kind": "linear"}}),
        (
            "image_distillation",
            {
                **IMAGES,
                "distillation": {"mode": "jensen_shannon", "temperature": 2.0},
                "teacher": {"kind": "resnet", "width": 4, "blocks": [1, 1]},
                "student": {"kind": "vit", "patch": 4, "width": 8, "heads": 2, "layers": 1},
                "optimizer": {"kind": "sgd", "lr": 0.1},
            },
        ),
        ("image_distillation", {**IMAGES, "distillation": {"mode": "hard"}, "shift": 0, "train_images": 100}),
        # Second derivatives along the same random signs: tensors have the same names.
        (
            "image_distillation",
            {
                **IMAGES,
                "teacher": {"kind": "mlp", "hidden": [8]},
                "optimizer": {"kind": "sophia", "lr": 0.01, "gamma": 1.0, "update_every": 2},
            },
        ),
        ("bias_variance", {**MARKOV, "soft_weight": 0.6}),
        ("bias_variance", {**MARKOV, "labels": "truth", "optimizer": {"kind": "sgd", "lr": 0.5}}),
        ("sparse_targets", {**ZIPF, "targets": {"kind": "top_k", "k": 6, "missing": "rest", "precision": "float32"}}),
        ("sparse_targets", {**ZIPF, "targets": {"kind": "top_k", "k": 6, "missing": "spread"}}),
    ],
)
def test_a_run_in_pytorch_is_the_run_in_jax(name: str, spec: dict[str, Any]) -> None:
    one, other = (events(name, {**spec, "framework": framework}) for framework in ("jax", "torch"))
    ours, theirs = numbers(one), numbers(other)
    assert ours.keys() == theirs.keys()
    for place, value in ours.items():
        np.testing.assert_allclose(
            theirs[place], value, rtol=COARSE.get(place[1], CLOSE), atol=1e-6, err_msg=str(place)
        )
    assert files(one).keys() == files(other).keys()
    for file, content in files(one).items():
        if file.endswith(".safetensors"):
            mine, yours = load(content), load(files(other)[file])
            assert {key: array.shape for key, array in mine.items()} == {k: array.shape for k, array in yours.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("image_distillation", IMAGES),
        ("bias_variance", MARKOV),
        ("sparse_targets", {**ZIPF, "targets": {"kind": "sampled", "k": 6}, "checkpoint_every": 1}),
    ],
)
def test_a_run_in_pytorch_is_deterministic_and_resumes_bit_for_bit(name: str, spec: dict[str, Any]) -> None:
    spec = {**spec, "framework": "torch"}
    whole = events(name, spec)
    reported = numbers(whole)
    assert all(np.isfinite(value) for value in reported.values())
    saved = [event for event in whole if isinstance(event, Checkpoint)]
    for checkpoint in (saved[0], saved[-1]):
        resumed = events(name, spec, checkpoint)
        assert numbers(resumed) == {place: v for place, v in reported.items() if place[0] > checkpoint.step}
        assert files(resumed) == files(whole)


@pytest.mark.parametrize("kind", ["sampled", "sampled_unique", "gumbel"])
def test_drawn_targets_have_the_same_law_in_both_frameworks(kind: str) -> None:
    spec = {**ZIPF, "steps": 40, "eval_every": 40, "batch_size": 64, "targets": {"kind": kind, "k": 6}}
    ours, theirs = (
        {key: value for (_, key), value in numbers(events("sparse_targets", {**spec, "framework": f})).items()}
        for f in ("jax", "torch")
    )
    for key in ("targets/entries", "targets/covered", "targets/variance"):
        # Means of 2,560 tokens; the kinds differ from each other by tenths.
        np.testing.assert_allclose(theirs[key], ours[key], rtol=0.05, err_msg=key)
    unbiased = theirs["bias/total_variation"] < 1.3 * theirs["bias/noise_floor"]
    assert unbiased == (kind == "sampled")


@pytest.mark.parametrize(
    "options",
    [Sampled(k=5), SampledUnique(k=5), Gumbel(k=5, missing="rest"), TopK(k=5, missing="spread"), TopK(k=9)],
)
def test_targets_written_out_agree(options: Sparse) -> None:
    logits = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32) * 2
    drawn = sparse.draw(options, jax.random.key(0), jnp.asarray(logits))
    ours = sparse.dense(options, drawn, 9)
    theirs = torch_sparse.dense(options, torch_sparse.slots(*(np.asarray(part) for part in drawn)), 9)
    np.testing.assert_allclose(theirs, ours, atol=1e-6)
    np.testing.assert_allclose(theirs.sum(dim=-1), 1, rtol=1e-5)


def test_images_are_moved_by_whole_pixels_and_what_comes_in_is_black() -> None:
    images = digits.load()
    shown = ShiftedImages(images, 2, seed=5, stream=3)
    rows = np.arange(6)
    x, y = shown.batch(rows, 4).values()
    np.testing.assert_array_equal(y, images.train_y[:6])
    moved = set()
    for image, flat in zip(x, images.train_x, strict=False):
        padded = np.pad(flat.reshape(8, 8, 1), ((2, 2), (2, 2), (0, 0)))
        places = [(i, j) for i in range(5) for j in range(5) if (padded[i : i + 8, j : j + 8] == image).all()]
        assert places
        moved.add(places[0])
    assert len(moved) > 1
    np.testing.assert_array_equal(shown.batch(rows, 4)["x"], x)
    assert not np.array_equal(shown.batch(rows, 5)["x"], x)
    still = ShiftedImages(images, 0, seed=5, stream=3).batch(rows, 4)["x"]
    np.testing.assert_array_equal(still.reshape(6, -1), images.train_x[:6])


def test_scores_of_logits_are_those_of_the_sums() -> None:
    draws = np.random.default_rng(3)
    logits, labels = draws.normal(size=(50, 4)).astype(np.float32) * 2, draws.integers(0, 4, 50).astype(np.int32)
    sums = calibration.confidence_gaps(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(50))
    expected = calibration.error_of({name: float(value) / 50 for name, value in sums.items()}, "error")["error"]
    found = calibration.scores(logits, labels)
    np.testing.assert_allclose(found["calibration_error"], expected, rtol=1e-4)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["nll"], -np.log(p[np.arange(50), labels]).mean(), rtol=1e-10)
    assert found["accuracy"] == (p.argmax(axis=1) == labels).mean()
