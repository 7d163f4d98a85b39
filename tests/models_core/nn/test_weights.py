"""Checkpoints as files: every layout in, one out, bit for bit; whatever lies is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from models_core.errors import WeightsInvalid
from models_core.nn import pretrained
from models_core.nn.configs import NANO
from models_core.nn.torch import pretrained as torch_pretrained
from models_core.nn.weights import gemma, hf_config, names, tensor_file
from models_core.nn.weights.hf_config import Description

SINGLE = "model.safetensors"


def same(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def peer_of(folder: Path) -> Any:
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return model


@pytest.mark.parametrize("style", ["old", "new"])
def test_our_export_is_the_peers_model_without_difference(peer: Any, tmp_path: Path, style: Any) -> None:
    found = gemma.load(peer.folder)
    gemma.save(tmp_path, found, style=style)
    held = dict(peer.model.named_parameters())
    for name, parameter in peer_of(tmp_path).named_parameters():
        assert torch.equal(parameter, held[name]), name
    again = gemma.load(tmp_path)
    assert again.what == found.what
    same(again.params, found.params)
    with torch.no_grad():
        model = peer_of(tmp_path).eval()
        model.set_attn_implementation("eager")
        more = {}
        if peer.pixels is not None:
            kinds = torch.from_numpy((peer.tokens == 57).astype(np.int64))
            more = {"pixel_values": torch.from_numpy(peer.pixels), "token_type_ids": kinds}
        logits = model(input_ids=torch.from_numpy(peer.tokens), **more).logits
    np.testing.assert_array_equal(logits.numpy(), peer.logits)


def test_layouts_of_multimodal_checkpoints_are_one_model(images_peer: Any, tmp_path: Path) -> None:
    written = load_file(images_peer.folder / SINGLE)
    memory = {name: tensor.detach().contiguous() for name, tensor in images_peer.model.state_dict().items()}
    assert all(name.startswith("model.") for name in memory if name != names.TIED)
    # The output layer's second copy of the embedding may be there, as long as it is a copy.
    memory[names.TIED] = memory[names.TIED].clone()
    published = {}
    for name, tensor in written.items():
        bare = name.removeprefix("vision_tower.").removeprefix("vision_model.")
        published["vision_tower.vision_model." + bare if name.startswith("vision_tower.") else name] = tensor
    expected = gemma.load(images_peer.folder).params
    for number, layout in enumerate((published, memory, written)):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(images_peer.folder / "config.json", folder)
        save_file(layout, folder / SINGLE, metadata={"format": "pt"})
        same(gemma.load(folder).params, expected)
    gemma.save(tmp_path / "out", gemma.load(images_peer.folder))
    assert set(tensor_file.read_folder(tmp_path / "out")) == set(published)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_round_trip_is_bit_exact_in_every_precision(peer: Any, tmp_path: Path, dtype: Any) -> None:
    found = pretrained.load(peer.folder, dtype=dtype)
    pretrained.save(tmp_path / "jax", found, shard_bytes=4_000)
    assert len(list((tmp_path / "jax").glob("*.safetensors"))) > 1
    same(pretrained.load(tmp_path / "jax").params, found.params)
    what, model = torch_pretrained.load(tmp_path / "jax")
    torch_pretrained.save(tmp_path / "torch", what, model)
    again = gemma.load(tmp_path / "torch")
    same(again.params, jax.tree.map(np.asarray, found.params))
    assert json.loads((tmp_path / "torch" / "config.json").read_text())["dtype"] == dtype


def test_conversion_rounds_as_the_peer_does(peer: Any) -> None:
    rounded = gemma.load(peer.folder, dtype="bfloat16").params
    text = rounded if peer.pixels is None else rounded["text"]
    embedding = peer.model.get_input_embeddings().weight.detach().bfloat16().float().numpy()
    np.testing.assert_array_equal(text["embedding"].astype(np.float32), embedding)
    assert text["embedding"].dtype == ml_dtypes.bfloat16


def test_sharded_files_load_in_the_peer(images_peer: Any, tmp_path: Path) -> None:
    gemma.save(tmp_path, gemma.load(images_peer.folder), shard_bytes=20_000)
    held = dict(images_peer.model.named_parameters())
    for name, parameter in peer_of(tmp_path).named_parameters():
        assert torch.equal(parameter, held[name]), name


def test_rows_come_from_the_tensor(images_peer: Any, tmp_path: Path) -> None:
    shutil.copytree(images_peer.folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["text_config"]["vocab_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert gemma.load(tmp_path).what.vocabulary == 61


def small(folder: Path) -> Path:
    """A Gemma 3 text checkpoint of our own."""
    from models_core.nn import decoder

    params = decoder.init(jax.random.key(0), NANO, 11)
    held = jax.tree.map(np.asarray, params)
    gemma.save(folder, gemma.Checkpoint(Description("gemma3_text", NANO), held))
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(folder / SINGLE)
    change(tensors)
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("model.layers.3.mlp.up_proj.weight"), "model.layers.3.mlp.up_proj.weight"),
        (lambda t: t.update({"model.extra": torch.zeros(2)}), "model.extra"),
        (lambda t: t.update({"model.norm.weight": torch.zeros(63)}), "model.norm.weight"),
        (lambda t: t.update({"model.norm.weight": torch.zeros(64, dtype=torch.int32)}), "model.norm.weight"),
        (lambda t: t.update({"lm_head.weight": torch.zeros(11, 64)}), "lm_head.weight"),
        (lambda t: t.update({"model.embed_tokens.weight": torch.zeros(12, 64)}), "model.embed_tokens.weight"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: Any, named: str) -> None:
    changed(small(tmp_path), change)
    with pytest.raises(WeightsInvalid) as refused:
        gemma.load(tmp_path)
    assert named in refused.value.fields
    assert named in refused.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attention_bias", True),
        ("rms_norm_eps", 1e-5),
        ("hidden_activation", "silu"),
        ("tie_word_embeddings", False),
        ("use_bidirectional_attention", True),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("hidden_size", "64"),
        ("num_hidden_layers", -1),
        ("layer_types", ["full_attention"] * 6 + ["sliding_attention"]),
        ("head_dim", 31),
        ("model_type", "llama"),
    ],
)
def test_wrong_configurations_are_named(tmp_path: Path, field: str, value: Any) -> None:
    path = small(tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(WeightsInvalid) as refused:
        gemma.load(tmp_path)
    assert any(field in place for place in refused.value.fields)


def test_a_configuration_that_contradicts_the_tensors_names_one(tmp_path: Path) -> None:
    path = small(tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 130}))
    with pytest.raises(WeightsInvalid, match=r"mlp\.gate_proj"):
        gemma.load(tmp_path)


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def rewrite(path: Path, header: Any, data: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def _lie(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["model.norm.weight"].update({name: value})


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "out of range": _lie("data_offsets", [0, 2**40]),
    "negative": _lie("data_offsets", [-256, 0]),
    "backwards": _lie("data_offsets", [256, 0]),
    "not numbers": _lie("data_offsets", ["0", "256"]),
    "overlap": _lie("data_offsets", [0, 256]),
    "shape against bytes": _lie("shape", [65]),
    "huge shape": _lie("shape", [2**40, 2**40]),
    "negative shape": _lie("shape", [-64]),
    "unknown dtype": _lie("dtype", "F31"),
    "no dtype": _lie("dtype", None),
    "hole": lambda header: header.pop("model.norm.weight"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_headers_are_refused(tmp_path: Path, lie: str) -> None:
    path = small(tmp_path) / SINGLE
    header, data = header_of(path)
    LIES[lie](header)
    rewrite(path, header, data)
    with pytest.raises(WeightsInvalid, match=r"model\.safetensors"):
        gemma.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_truncated_files_are_refused(tmp_path: Path, keep: int) -> None:
    path = small(tmp_path) / SINGLE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsInvalid, match=r"model\.safetensors"):
        gemma.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "length"),
    [(b"{}", 2**63), (b"{}", 10**9), (b"[" * 5000, None), (b"[]", None), (b"\xff\xfe", None), (b'{"a":1,"a":2}', None)],
)
def test_headers_that_are_none_are_refused(tmp_path: Path, text: bytes, length: int | None) -> None:
    path = small(tmp_path) / SINGLE
    rewrite(path, text, b"", length)
    with pytest.raises(WeightsInvalid, match=r"model\.safetensors"):
        gemma.load(tmp_path)


@pytest.mark.parametrize(
    "file", ["../model.safetensors", "/etc/model.safetensors", "a/b.safetensors", "..", "x.bin", "c:\\m.safetensors"]
)
def test_an_index_never_leaves_its_folder(tmp_path: Path, file: str) -> None:
    folder = small(tmp_path / "inner")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": file}}
    (folder / tensor_file.INDEX).write_text(json.dumps(index))
    with pytest.raises(WeightsInvalid, match="plain name"):
        gemma.load(folder)


def test_an_index_must_place_tensors_where_they_are(tmp_path: Path) -> None:
    small(tmp_path)
    header, _ = header_of(tmp_path / SINGLE)
    placed = {name: SINGLE for name in header if name != "__metadata__"}
    for wrong in (placed | {"model.ghost": SINGLE}, {k: v for k, v in placed.items() if k != "model.norm.weight"}):
        (tmp_path / tensor_file.INDEX).write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(WeightsInvalid, match=r"model\.(ghost|norm)"):
            gemma.load(tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsInvalid) as refused:
        gemma.load(tmp_path)
    assert "config.json" in refused.value.fields


def test_published_multimodal_configuration_leaves_most_to_defaults() -> None:
    text = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34}
    text |= {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    vision = {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model"}
    vision |= {"num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False}
    what = hf_config.parse({"model_type": "gemma3", "text_config": text, "vision_config": vision})
    from models_core.nn.published import GEMMA3_4B, SIGLIP_SO400M

    assert (what.config, what.vision, what.vocabulary) == (GEMMA3_4B, SIGLIP_SO400M, None)


@pytest.mark.parametrize("style", ["old", "new"])
def test_every_published_size_survives_its_configuration(style: Any) -> None:
    from models_core.nn.published import PUBLISHED

    for name, model in PUBLISHED.items():
        kind: Any = "gemma" if name.startswith("gemma-") else "gemma3" if model.vision else "gemma3_text"
        what = Description(kind, model.config, model.vocabulary, model.vision)
        assert hf_config.parse(json.loads(json.dumps(hf_config.render(what, "bfloat16", style)))) == what


@pytest.mark.parametrize(("kind", "named"), [("gemma", "config.qk_norm"), ("gemma3_text", "config.n_experts")])
def test_decoders_without_a_published_form_are_not_written(tmp_path: Path, kind: Any, named: str) -> None:
    config = NANO if kind == "gemma" else NANO.model_copy(update={"n_experts": 4})
    with pytest.raises(WeightsInvalid) as refused:
        gemma.save(tmp_path, gemma.Checkpoint(Description(kind, config), {}))
    assert named in refused.value.fields
