"""The recipes teacher_cache and distillation together: a student of a cache is the student of the live teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_core.catalog import recipe
from models_core.distill.cache.manifest import CacheInvalid
from models_core.errors import SpecInvalid
from models_core.events import Checkpoint, Context, Event, Metric
from models_core.recipes import distillation, teacher_cache
from support.run_events import files

ONE_LAYER = {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 8, "d_ff": 24, "window": 6}
SHARED = {
    "teacher": {**ONE_LAYER, "d_model": 16},
    "length": 12,
    "train_bytes": 10_000,
    "teacher_steps": 2,
    "student_steps": 3,
    "warmup_steps": 0,
    "eval_every": 10,
    "batch_size": 5,
}
STUDENT = {"student": {**ONE_LAYER, "d_model": 12}}
TARGETS = {"kind": "sampled_unique", "k": 6, "missing": "rest"}
# Three steps of float32 in two frameworks.
CLOSE = 2e-4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (distillation, teacher_cache):
        monkeypatch.setattr(module, "SAMPLE_TOKENS", 6)
        monkeypatch.setattr(module, "VALIDATION_BYTES", 1000)


def student(folder: Path | None, seed: int = 1, **spec: Any) -> dict[tuple[int, str], float]:
    """What a run says of its student, steps counted from the student's first."""
    found = recipe("distillation")
    parsed = found.parse({**SHARED, **STUDENT, **spec})
    values: dict[tuple[int, str], float] = {}
    for event in found.run(parsed, Context(seed=seed, cache_dir=folder and str(folder))):
        if isinstance(event, Metric):
            values |= {(event.step, key): value for key, value in event.values.items()}
    first = min(step for step, key in values if key == "train/loss") - 1
    kept = ("train/loss", "train/hard_loss", "train/soft_loss", "eval/nll", "train/flops")
    return {(step - first, key): value for (step, key), value in values.items() if key in kept}


def write(folder: Path, framework: str, seed: int = 1, **spec: Any) -> None:
    writing = recipe("teacher_cache")
    parsed = writing.parse({**SHARED, "targets": TARGETS, "framework": framework, **spec})
    list(writing.run(parsed, Context(seed=seed, cache_dir=str(folder))))


def assert_same_lesson(cached: dict[tuple[int, str], float], live: dict[tuple[int, str], float]) -> None:
    assert live.keys() == cached.keys()
    for place, value in live.items():
        if place[1] == "train/flops":
            # The teacher's passes were paid when the cache was written.
            assert cached[place] < value
        else:
            assert cached[place] == value, place


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "other"), [("jax", "torch"), ("torch", "jax")])
def test_a_cache_teaches_what_the_live_teacher_does_bit_for_bit(tmp_path: Path, framework: str, other: str) -> None:
    write(tmp_path, framework)
    live = student(tmp_path, targets=TARGETS, framework=framework)
    cached = student(tmp_path, targets={**TARGETS, "cached": True}, framework=framework)
    assert_same_lesson(cached, live)
    # A student in the other framework reads it as well, and learns the same up to rounding.
    theirs = student(tmp_path, targets={**TARGETS, "cached": True}, framework=other)
    for place, value in cached.items():
        np.testing.assert_allclose(theirs[place], value, rtol=CLOSE, err_msg=str(place))
    for changed in ({"seed": 2}, {"batch_size": 4}, {"targets": {**TARGETS, "cached": True, "k": 5}}):
        with pytest.raises(CacheInvalid):
            student(tmp_path, **{"targets": {**TARGETS, "cached": True}, "framework": other, **changed})


@pytest.mark.slow
def test_a_student_prefers_the_cache_of_its_own_framework(tmp_path: Path) -> None:
    for framework in ("jax", "torch"):
        write(tmp_path, framework)
    for framework in ("jax", "torch"):
        live = student(tmp_path, targets=TARGETS, framework=framework)
        assert_same_lesson(student(tmp_path, targets={**TARGETS, "cached": True}, framework=framework), live)


@pytest.mark.slow
def test_writing_in_pytorch_resumes_and_says_the_same_whatever_the_folder_holds(tmp_path: Path) -> None:
    found = recipe("teacher_cache")
    spec = found.parse({**SHARED, "targets": TARGETS, "framework": "torch", "checkpoint_every": 1})

    def events(folder: str, resume: Checkpoint | None = None) -> list[Event]:
        context = Context(seed=1, cache_dir=str(tmp_path / folder), resume=resume)
        return [event for event in found.run(spec, context) if not is_rate(event)]

    whole = events("one")
    assert events("one")[-1] == whole[-1]
    drawing = next(e for e in whole if isinstance(e, Checkpoint) and e.state["phase"] == "drawing")
    resumed = events("another", drawing)
    kept = files(whole)
    assert files(resumed) == kept


def is_rate(event: Event) -> bool:
    return isinstance(event, Metric) and "perf/tokens_per_s" in event.values


def test_without_a_cache_folder_the_refusal_names_the_field() -> None:
    with pytest.raises(SpecInvalid) as refusal:
        student(None, targets={**TARGETS, "cached": True})
    assert list(refusal.value.fields) == ["targets.cached"]
