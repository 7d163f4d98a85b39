"""Teachers that are there already, other texts and tokenizers: in the recipes on text, in both frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from models_core.catalog import recipe
from models_core.data import stdlib_text, tokenizers
from models_core.data._dataset import DataInvalid
from models_core.data.tokenizers import TokenizerMismatch
from models_core.distill.cache.manifest import CacheInvalid
from models_core.errors import SpecInvalid
from models_core.events import Artifact, Checkpoint, Context, Event
from models_core.nn import decoder
from models_core.nn.configs import DecoderConfig
from models_core.nn.weights.hf_config import Description
from models_core.recipes import distillation, salt, teacher_cache
from models_core.training import snapshot, weights
from support.run_events import files, numbers

SIZES = {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 8, "d_ff": 24, "window": 6}
CONFIG = DecoderConfig(**SIZES, d_model=20)
SHORT = {
    "length": 12,
    "train_bytes": 10_000,
    "student_steps": 3,
    "warmup_steps": 0,
    "eval_every": 2,
    "batch_size": 5,
    "checkpoint_every": 1,
    "student": {**SIZES, "d_model": 12},
    "teacher_start": {"kind": "weights", "path": "teacher.safetensors"},
}
CLOSE = 2e-4
COARSE = {"eval/calibration_error": 2e-2, "eval/accuracy": 2e-3}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for module in (distillation, salt, teacher_cache):
        monkeypatch.setattr(module, "SAMPLE_TOKENS", 10)
        monkeypatch.setattr(module, "VALIDATION_BYTES", 1500)
    monkeypatch.setenv("STILLROOM_DATA_DIR", str(tmp_path))
    models = tmp_path / "models"
    models.mkdir()
    params = decoder.init(jax.random.key(3), CONFIG, stdlib_text.VOCABULARY)
    content = weights.to_bytes(snapshot.to_arrays(params), CONFIG, tokenizers.ByteTokenizer().hash)
    (models / "teacher.safetensors").write_bytes(content)
    return models


def events(name: str, resume: Checkpoint | None = None, cache: Path | None = None, **changes: Any) -> list[Event]:
    found = recipe(name)
    context = Context(seed=1, resume=resume, cache_dir=None if cache is None else str(cache))
    spec = {key: value for key, value in SHORT.items() if key in found.spec_type.model_fields}
    return list(found.run(found.parse({**spec, **changes}), context))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [("distillation", {}), ("salt", {"kd_share": 0.7, "selection": {"min_kept": 1, "k": 100}})],
)
def test_a_given_teacher_only_judges_and_runs_agree(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    ours, theirs = (events(name, cache=tmp_path, framework=f, **changes) for f in ("jax", "torch"))
    found, other = numbers(ours), numbers(theirs)
    # Its own loss is known before the first step; all steps are the student's.
    assert (0, "teacher/eval_nll") in found
    assert not any(key == "teacher/loss" for _, key in found)
    assert max(step for step, _ in found) == 3
    assert found.keys() == other.keys()
    for place, value in found.items():
        np.testing.assert_allclose(other[place], value, rtol=COARSE.get(place[1], CLOSE), err_msg=str(place))
    saved = next(event for event in theirs if isinstance(event, Checkpoint))
    resumed = events(name, saved, tmp_path, framework="torch", **changes)
    assert numbers(resumed) == {place: value for place, value in other.items() if place[0] > saved.step}


@pytest.mark.slow
def test_a_published_checkpoint_teaches_a_smaller_model(tmp_path: Path, folder: Path) -> None:
    # Its rows are more than the tokenizer has ids, as Gemma's are.
    rows = stdlib_text.VOCABULARY + 5
    config = CONFIG.model_copy(update={"n_layers": 2, "global_every": 2})
    (folder / "gemma").mkdir()
    arrays = snapshot.to_arrays(decoder.init(jax.random.key(5), config, rows))
    weights.to_checkpoint(folder / "gemma", arrays, Description("gemma3_text", config, rows))
    start = {"kind": "checkpoint", "path": "gemma"}
    found = events("distillation", cache=tmp_path, framework="torch", teacher_start=start, loss_chunk=20)
    values = numbers(found)
    assert values[3, "distill/forward_kl"] > 0
    assert abs(values[0, "teacher/eval_nll"] - np.log(rows)) < 1
    assert max(step for step, _ in values) == 3


@pytest.mark.slow
def test_a_model_of_given_sizes_is_fine_tuned_rounded(tmp_path: Path) -> None:
    found = events("distillation", cache=tmp_path, student_start="teacher", quantise="int4_block", framework="torch")
    assert abs(numbers(found)[1, "distill/teacher_loss"]) > 0
    held = next(event.content for event in found if isinstance(event, Artifact) and event.name.endswith("safetensors"))
    from safetensors.numpy import load

    assert load(held)["embedding"].shape == (stdlib_text.VOCABULARY, CONFIG.d_model)


@pytest.mark.slow
def test_a_cache_of_a_given_teacher_is_its_own(tmp_path: Path, folder: Path) -> None:
    targets = {"kind": "top_k", "k": 4, "precision": "float32"}
    events("teacher_cache", cache=tmp_path, targets=targets, framework="torch")
    cached = {"targets": {**targets, "cached": True}, "framework": "torch"}
    live = numbers(events("distillation", cache=tmp_path, targets=targets, framework="torch"))
    read = numbers(events("distillation", cache=tmp_path, **cached))
    for step in (1, 2, 3):
        assert read[step, "train/soft_loss"] == live[step, "train/soft_loss"]
    # Other weights under the same name are another teacher.
    params = decoder.init(jax.random.key(4), CONFIG, stdlib_text.VOCABULARY)
    content = weights.to_bytes(snapshot.to_arrays(params), CONFIG, tokenizers.ByteTokenizer().hash)
    (folder / "teacher.safetensors").write_bytes(content)
    with pytest.raises(CacheInvalid):
        events("distillation", cache=tmp_path, **cached)


@pytest.mark.slow
def test_another_text_and_a_tokenizer_of_a_file(tmp_path: Path, folder: Path) -> None:
    learnt = tokenizers.train("bpe", ["the cat sat on the mat, and the dog on the log. " * 20], 280)
    (folder / "t.json").write_bytes(learnt.to_bytes())
    found = events(
        "distillation",
        cache=tmp_path,
        framework="torch",
        data={"kind": "stdlib_prose"},
        tokenizer={"kind": "file", "format": "bpe", "path": "t.json"},
        teacher_start={"kind": "fresh"},
        teacher={**SIZES, "d_model": 16},
        teacher_steps=1,
    )
    assert all(np.isfinite(value) for value in numbers(found).values())
    assert files(found)["sample.txt"].startswith(b"The ")
    # The teacher in the folder has other tokens.
    with pytest.raises(TokenizerMismatch):
        events("distillation", tokenizer={"kind": "file", "format": "bpe", "path": "t.json"}, framework="torch")


def test_refusals_name_the_field() -> None:
    with pytest.raises(DataInvalid) as refusal:
        events("distillation", teacher_start={"kind": "weights", "path": "none.safetensors"}, framework="torch")
    assert list(refusal.value.fields) == ["teacher_start.path"]
    for wrong, field in (
        ({"student_tokenizer": "ascii", "tokenizer": {"kind": "file", "path": "t.json"}}, "student_tokenizer"),
        ({"tokenizer": {"kind": "bpe"}}, "tokenizer"),
    ):
        with pytest.raises(SpecInvalid) as refused:
            recipe("distillation").parse({**wrong, "distillation": {"mode": "sorted"}})
        assert list(refused.value.fields) == [field]
