"""A whole run of the distillation recipes in PyTorch is the run in JAX: same weights, batches and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models_core.catalog import recipe
from models_core.errors import SpecInvalid
from models_core.events import Checkpoint, Context, Event
from models_core.recipes import distillation, salt
from support.run_events import files, numbers

SMALL = {
    "length": 12,
    "train_bytes": 10_000,
    "teacher_steps": 2,
    "student_steps": 3,
    "warmup_steps": 0,
    "eval_every": 2,
    "batch_size": 5,
    "checkpoint_every": 1,
    "optimizer": {"kind": "adam", "lr": 0.003},
}
ONE_LAYER = {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 8, "d_ff": 24, "window": 6}
MODELS = {"teacher": {**ONE_LAYER, "d_model": 16}, "student": {**ONE_LAYER, "d_model": 12}}
# Five steps of float32 in two frameworks; a missing factor or a batch out of order shows at 1e-2.
CLOSE = 2e-4
# Whether a probability falls on this side of a bin's edge, or of another id's, is decided by rounding.
COARSE = {"eval/calibration_error": 2e-2, "eval/accuracy": 2e-3}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (distillation, salt):
        monkeypatch.setattr(module, "SAMPLE_TOKENS", 10)
        monkeypatch.setattr(module, "VALIDATION_BYTES", 1500)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("compiled"))


def events(name: str, cache_dir: str, resume: Checkpoint | None = None, **changes: Any) -> list[Event]:
    found = recipe(name)
    spec = found.parse({**SMALL, **MODELS, **changes})
    return list(found.run(spec, Context(seed=1, resume=resume, cache_dir=cache_dir)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("distillation", {"loss_chunk": 7, "micro_batch": 2, "teacher_padding": 3}),
        (
            "distillation",
            {
                "distillation": {"mode": "jensen_shannon", "temperature": 2.0},
                "features": {"layers": [[1, 1], [0, 0]]},
                "quantise": "int4_block",
                "schedule": {"kind": "linear"},
            },
        ),
        ("distillation", {"distillation": {"mode": "sorted"}, "student_tokenizer": "ascii"}),
        ("distillation", {"student": MODELS["teacher"], "student_start": "teacher", "quantise": "int4_channel"}),
        ("salt", {"kd_share": 0.7, "selection": {"min_kept": 2}, "decay": "linear"}),
        (
            "distillation",
            {
                "teacher": {**MODELS["teacher"], "n_experts": 3, "expert_capacity": 1.0},
                "student": {**MODELS["student"], "n_experts": 2, "experts_per_token": 1},
                "batch_size": 4,
                "micro_batch": 2,
                "quantise": "int4_block",
            },
        ),
        ("salt", {"kd_share": 0.4, "student": {**MODELS["student"], "n_experts": 3}}),
    ],
)
def test_a_run_in_pytorch_is_the_run_in_jax(name: str, changes: dict[str, Any], cache_dir: str) -> None:
    ours, theirs = (numbers(events(name, cache_dir, framework=f, **changes)) for f in ("jax", "torch"))
    assert ours.keys() == theirs.keys()
    experts = changes.get("student", {}).get("n_experts", 0) > 0
    assert experts == any(key == "train/router_loss" for _, key in ours)
    for place, value in ours.items():
        np.testing.assert_allclose(theirs[place], value, rtol=COARSE.get(place[1], CLOSE), err_msg=str(place))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("distillation", {"distillation": {"mode": "forward_kl"}, "targets": {"kind": "sampled", "k": 4}}),
        (
            "distillation",
            {"distillation": {"mode": "reverse_kl"}, "sequences": {"kind": "on_policy", "prompt": 4, "share": 0.7}},
        ),
        ("distillation", {"distillation": {"mode": "hard"}, "sequences": {"kind": "teacher", "prompt": 4}}),
        ("salt", {"selection": {"min_kept": 2}, "kd_share": 0.5, "optimizer": {"kind": "muon"}}),
    ],
)
def test_a_run_in_pytorch_is_deterministic_and_resumes_bit_for_bit(
    name: str, changes: dict[str, Any], cache_dir: str
) -> None:
    whole = events(name, cache_dir, framework="torch", **changes)
    reported = numbers(whole)
    assert all(np.isfinite(value) for value in reported.values())
    saved = [event for event in whole if isinstance(event, Checkpoint)]
    kept = files(whole)
    assert {"sample.txt", "student.safetensors", "teacher_sample.txt"} <= kept.keys()
    for checkpoint in (saved[0], saved[2]):
        resumed = events(name, cache_dir, checkpoint, framework="torch", **changes)
        assert numbers(resumed) == {place: v for place, v in reported.items() if place[0] > checkpoint.step}
        assert files(resumed) == kept


@pytest.mark.slow
def test_a_student_that_begins_as_its_teacher_has_nothing_to_learn_from_it(cache_dir: str) -> None:
    changes = {"student": MODELS["teacher"], "student_start": "teacher", "student_steps": 1}
    found = numbers(events("distillation", cache_dir, **changes))
    assert abs(found[3, "distill/forward_kl"]) < 1e-6
    # Rounding a trained model afterwards costs, and more bits cost less.
    losses = [found[3, f"rounded/nll_{kind}"] for kind in ("float8", "int4_block", "int4_channel")]
    assert abs(losses[0] - found[3, "eval/nll"]) < abs(losses[2] - found[3, "eval/nll"])
    sizes = [found[3, f"rounded/bytes_{kind}"] for kind in ("int4_channel", "int4_block", "float8")]
    assert sizes == sorted(sizes)
    assert sizes[2] < found[3, "student/bytes"]


def test_a_student_cannot_begin_as_a_teacher_of_another_size() -> None:
    with pytest.raises(SpecInvalid) as refusal:
        recipe("distillation").parse({**SMALL, **MODELS, "student_start": "teacher"})
    assert list(refusal.value.fields) == ["student_start"]
