"""The language model recipe: both frameworks, going on from weights, and refusals before any step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models_core import catalog
from models_core.data._dataset import DataInvalid
from models_core.data.tokenizers import TokenizerMismatch
from models_core.errors import CheckpointInvalid, CoreError, SpecInvalid
from models_core.events import Artifact, Checkpoint, Context, Event, Metric
from models_core.training import weights

CACHE: list[str] = []
RECIPE = catalog.recipe("language_model")
MODEL = {
    "kind": "custom",
    "n_layers": 1,
    "d_model": 16,
    "n_heads": 2,
    "n_kv_heads": 1,
    "head_dim": 8,
    "d_ff": 24,
    "context": 64,
}
SMALL = {
    "data": {"kind": "local_text", "path": "."},
    "train_bytes": 10_000,
    "model": MODEL,
    "length": 16,
    "steps": 3,
    "warmup_steps": 0,
    "batch_size": 4,
    "eval_every": 3,
    "checkpoint_every": 1,
    "sample_tokens": 6,
    "peak_tflops": 0.001,
}


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STILLROOM_DATA_DIR", str(tmp_path))
    (tmp_path / "local_text").mkdir()
    (tmp_path / "models").mkdir()
    words = np.random.default_rng(0).choice(["def", "return", "x", "(", ")", ":", "\n"], size=2000)
    (tmp_path / "local_text" / "a.txt").write_text(" ".join(words))
    return tmp_path


@pytest.fixture(autouse=True, scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Compiling is most of the time of these small runs.
    CACHE.append(str(tmp_path_factory.mktemp("compiled")))


def run(resume: Checkpoint | None = None, **changed: object) -> list[Event]:
    return list(RECIPE.run(RECIPE.parse(SMALL | changed), Context(seed=1, resume=resume, cache_dir=CACHE[-1])))


def values(events: list[Event], key: str) -> list[float]:
    return [event.values[key] for event in events if isinstance(event, Metric) and key in event.values]


def artifact(events: list[Event], name: str) -> bytes:
    return next(event.content for event in events if isinstance(event, Artifact) and event.name == name)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_every_option_at_once_trains_and_resumes_bit_for_bit(framework: str) -> None:
    changed = {
        "framework": framework,
        "tokenizer": {"kind": "bpe", "vocabulary": 270},
        "packing": "documents",
        "micro_batches": 2,
        "ema_decay": 0.5,
        "precision": "mixed_bfloat16",
        "on_non_finite": "skip",
    }
    events = run(**changed)
    saved = [event for event in events if isinstance(event, Checkpoint)]
    resumed = run(resume=saved[0], **changed)
    for name in ("sample.txt", "model.safetensors", "tokenizer.json", "loss_by_position.json"):
        assert artifact(resumed, name) == artifact(events, name)
    assert values(resumed, "train/loss") == values(events, "train/loss")[1:]
    # Tied to what a hand can compute: about uniform at the start, four quarters, one loss a place.
    assert abs(values(events, "train/loss")[0] - np.log(270)) < 1.0
    quarters = [values(events, f"eval/nll_quarter_{index}")[-1] for index in (1, 2, 3, 4)]
    assert min(quarters) <= values(events, "eval/nll")[-1] <= max(quarters)
    assert len(json.loads(artifact(events, "loss_by_position.json"))) == 16
    assert all(value > 0 for value in values(events, "perf/flops_utilisation"))


def test_bits_per_byte_of_a_byte_model_is_its_loss_in_bits() -> None:
    events = run()
    nll, bits = values(events, "eval/nll")[-1], values(events, "eval/bits_per_byte")[-1]
    # One document a text: BOS and EOS are two tokens more than bytes.
    np.testing.assert_allclose(bits, nll / np.log(2), rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_going_on_from_weights(framework: str, data_folder: Path) -> None:
    before = run(steps=3, framework="jax")
    (data_folder / "models" / "m.safetensors").write_bytes(artifact(before, "model.safetensors"))
    start = {"kind": "weights", "path": "m.safetensors"}
    after = run(framework=framework, start=start, steps=1, eval_every=1)
    # The first loss is that of trained weights: below that of fresh ones on the same batch.
    assert values(after, "train/loss")[0] < values(before, "train/loss")[0]
    with pytest.raises(TokenizerMismatch, match=r"m\.safetensors was made with"):
        run(start=start, tokenizer={"kind": "bpe", "vocabulary": 259})
    (data_folder / "models" / "t.json").write_bytes(artifact(run(tokenizer={"kind": "bpe"}), "tokenizer.json"))
    with pytest.raises(TokenizerMismatch):
        run(start=start, tokenizer={"kind": "file", "format": "bpe", "path": "t.json"})
    assert values(run(tokenizer={"kind": "file", "format": "bpe", "path": "t.json"}, steps=1), "eval/nll")
    with pytest.raises(CheckpointInvalid, match="embedding"):
        run(framework=framework, start=start, model=MODEL | {"d_model": 24})


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_experts_train_with_their_losses_in_both_frameworks(framework: str) -> None:
    events = run(framework=framework, model=MODEL | {"n_experts": 4, "expert_capacity": 0.5}, samples=2, top_k=5)
    assert 0 < values(events, "experts/dropped")[-1] < 1
    assert 0 < values(events, "experts/load_entropy")[-1] <= 1
    assert values(events, "experts/balance")[-1] > 0.9
    # Fresh and held-out losses are alike, and the routers' losses are in neither.
    assert abs(values(events, "train/loss")[-1] - values(events, "eval/nll")[-1]) < 0.5
    first, second = artifact(events, "sample.txt").decode(errors="replace").split("\n\n----\n\n")
    assert first.startswith("def ")
    assert second.startswith("def ")


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_a_checkpoint_in_the_published_form_goes_out_to_the_peer_and_comes_back(
    framework: str, data_folder: Path
) -> None:
    import torch
    import transformers

    first = run(weights_format="hugging_face", tokenizer={"kind": "bpe", "vocabulary": 270}, framework="jax")
    folder = data_folder / "models" / "out"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_bytes(artifact(first, f"hugging_face/{name}"))
    peer, report = transformers.Gemma3ForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    # A copy: what it loads may be mapped from the file that is replaced below.
    before = peer.model.norm.weight.detach().clone()
    chosen = {
        "framework": framework,
        "start": {"kind": "checkpoint", "path": "out"},
        "model": {"kind": "named", "size": "micro"},
        "tokenizer": {"kind": "file", "format": "bpe", "path": "out/tokenizer.json"},
        "weights_format": "hugging_face",
        "optimizer": {"kind": "lion", "lr": 1e-4},
        "eval_every": 1,
        "steps": 1,
    }
    after = run(**chosen)
    assert values(after, "train/loss")[0] < values(first, "train/loss")[0]
    # One small step: the config is the checkpoint's, and the weights are near it.
    (folder / "model.safetensors").write_bytes(artifact(after, "hugging_face/model.safetensors"))
    again = transformers.Gemma3ForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        moved = again.model.norm.weight - before
    assert 0 < float(moved.abs().max()) < 1e-3
    with pytest.raises(CoreError, match="comes with a tokenizer") as refusal:
        run(**chosen | {"tokenizer": {"kind": "bpe", "vocabulary": 265}})
    assert refusal.value.code == "tokenizer.mismatch"
    with pytest.raises(CoreError, match="has 270 embedding rows"):
        run(**chosen | {"tokenizer": {"kind": "bpe", "vocabulary": 280}})
    with pytest.raises(SpecInvalid, match="not those of"):
        run(**chosen | {"model": MODEL | {"d_model": 24}})
    with pytest.raises(SpecInvalid, match="context is 64"):
        run(**chosen | {"length": 65})
    with pytest.raises(DataInvalid, match="There is no folder"):
        run(**chosen | {"start": {"kind": "checkpoint", "path": "../models/absent"}})


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"x" * 100])
def test_what_holds_no_weights_is_refused(content: bytes, data_folder: Path) -> None:
    (data_folder / "models" / "m.safetensors").write_bytes(content)
    with pytest.raises(CheckpointInvalid, match="does not hold weights"):
        run(start={"kind": "weights", "path": "m.safetensors"})
    (data_folder / "secret").write_bytes(b"")
    for path in ("../secret", "absent", "/etc/passwd"):
        with pytest.raises(DataInvalid, match="There is no file"):
            run(start={"kind": "weights", "path": path})


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"length": 65}, "length"),
        ({"warmup_steps": 3}, "warmup_steps"),
        ({"micro_batches": 3}, "micro_batches"),
        ({"data_parallel": 3}, "batch_size"),
        ({"framework": "torch", "fsdp": 3}, "batch_size"),
        ({"weights_format": "hugging_face", "model": MODEL | {"n_experts": 2}}, "weights_format"),
        ({"length": 32_769, "model": {"kind": "named", "size": "gemma3-1b"}}, "length"),
        ({"data": {"kind": "udhr", "languages": ["../x"]}}, "data.languages.0"),
    ],
)
def test_what_cannot_work_is_refused_with_its_field(changed: dict[str, object], field: str) -> None:
    with pytest.raises(SpecInvalid) as refusal:
        RECIPE.parse(SMALL | changed)
    assert list(refusal.value.fields) == [field]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"data": {"kind": "local_text", "path": "../models"}}, "not below"),
        ({"data": {"kind": "king_james"}}, "king_james"),
        ({"batch_size": 4096}, "fewer than a batch"),
        ({"data_parallel": 64, "batch_size": 64}, "needs 64 devices"),
        ({"data_parallel": 64, "batch_size": 64, "framework": "torch"}, "needs 64 devices"),
    ],
)
def test_what_turns_out_not_to_work_is_refused_before_any_step(changed: dict[str, object], complaint: str) -> None:
    seen: list[Event] = []
    with pytest.raises(CoreError, match=complaint) as refusal:
        seen.extend(RECIPE.run(RECIPE.parse(SMALL | changed), Context(seed=1)))
    assert refusal.value.code
    assert not any(isinstance(event, Metric | Checkpoint) for event in seen)


def test_token_ids_without_a_row_are_refused(data_folder: Path) -> None:
    events = run(steps=1)
    path = data_folder / "models" / "m.safetensors"
    path.write_bytes(artifact(events, "model.safetensors"))
    held = weights.from_file(path)
    fewer = held.arrays | {"embedding": held.arrays["embedding"][:100]}
    path.write_bytes(weights.to_bytes(fewer, held.config, held.tokenizer))
    with pytest.raises(CoreError, match="outside the model's 100 embedding rows") as refusal:
        run(start={"kind": "weights", "path": "m.safetensors"})
    assert refusal.value.code == "tokens.out_of_range"


def test_named_sizes_are_the_configurations() -> None:
    from models_core.nn.configs import MICRO
    from models_core.nn.published import PUBLISHED

    assert RECIPE.parse({"model": {"kind": "named", "size": "micro"}}).sizes == MICRO
    for name, published in PUBLISHED.items():
        assert RECIPE.parse({"model": {"kind": "named", "size": name}}).sizes == published.config
    custom = RECIPE.parse(SMALL).sizes
    assert type(custom).__name__ == "DecoderConfig"
    assert custom.d_model == 16
