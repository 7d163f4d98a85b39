"""Caches of teacher targets: what comes back, what is refused, and how an interrupted writer goes on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load, save

from models_core.distill import sparse
from models_core.distill.cache.manifest import CacheInvalid, Description
from models_core.distill.cache.reader import Reader
from models_core.distill.cache.writer import Writer
from models_core.distill.options import Gumbel, Sampled, SampledUnique, Sparse, TopK

KINDS: list[Sparse] = [Sampled(k=6), SampledUnique(k=6), Gumbel(k=6), TopK(k=6, precision="float32"), Sampled(k=256)]
STEPS = 5


def describe(options: Sparse, vocabulary: int = 50) -> Description:
    value_dtype = "count" if isinstance(options, Sampled) else options.precision
    return Description(
        "teacher", "bytes", "data", "order", options.kind, options.k, 1.0, 0, value_dtype, vocabulary, 3, 4, STEPS, 2
    )


def targets(options: Sparse, step: int, vocabulary: int = 50) -> list[np.ndarray]:
    logits = np.random.default_rng(step).normal(size=(12, vocabulary)) * 3
    # One token whose draws all fall on the same id: 256 of them must fit where counts are kept.
    logits[0, 0] = 100
    drawn = sparse.draw(options, jax.random.fold_in(jax.random.key(0), step), jnp.asarray(logits, jnp.float32))
    return [np.asarray(part) for part in drawn]


def written(folder: Path, options: Sparse, steps: int = STEPS, vocabulary: int = 50) -> Writer:
    writer = Writer(folder, describe(options, vocabulary))
    for step in range(writer.next_step, steps):
        writer.add(step, *targets(options, step, vocabulary))
    return writer


@pytest.mark.parametrize("options", KINDS, ids=lambda options: f"{options.kind}-{options.k}")
@pytest.mark.parametrize("vocabulary", [300, 70_000])
def test_what_was_drawn_comes_back_bit_for_bit(options: Sparse, vocabulary: int, tmp_path: Path) -> None:
    written(tmp_path, options, vocabulary=vocabulary)
    reader = Reader(tmp_path, describe(options, vocabulary))
    for step in (0, 4, 1, 3, 2):
        for kept, drawn in zip(reader.at(step), targets(options, step, vocabulary), strict=True):
            np.testing.assert_array_equal(kept, drawn, strict=True)


def test_two_hundred_fifty_six_counts_take_the_budgeted_bytes(tmp_path: Path) -> None:
    # Zipf over 4,096 ids: about 155 different ones a token, three bytes each and two for their number.
    logits = np.tile(-np.log(np.arange(1, 4097)), (512, 1))
    drawn = sparse.draw(Sampled(k=256), jax.random.key(0), jnp.asarray(logits, jnp.float32))
    description = replace(describe(Sampled(k=256), 4096), batch_size=8, length=64, steps=1)
    writer = Writer(tmp_path, description)
    writer.add(0, *(np.asarray(part) for part in drawn))
    assert 440 < writer.manifest.bytes_per_token() < 490


def test_an_interrupted_writer_goes_on_without_duplicates(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    written(whole, KINDS[0])
    assert written(cut, KINDS[0], steps=3).next_step == 3
    # The third step was not on the disk yet.
    assert Writer(cut, describe(KINDS[0])).next_step == 2
    written(cut, KINDS[0])
    assert {p.name: p.read_bytes() for p in cut.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}


def test_a_damaged_shard_is_written_anew_with_all_after_it(tmp_path: Path) -> None:
    before = written(tmp_path, KINDS[0]).manifest
    shard = tmp_path / before.shards[1].name
    shard.write_bytes(shard.read_bytes()[:-1])
    assert Writer(tmp_path, describe(KINDS[0])).next_step == 2
    assert written(tmp_path, KINDS[0]).manifest == before


def test_steps_out_of_turn_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path, describe(KINDS[0]))
    with pytest.raises(CacheInvalid):
        writer.add(1, *targets(KINDS[0], 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("teacher", "other"),
        ("tokenizer", "ascii"),
        ("data", "other"),
        ("order", "other"),
        ("mode", "gumbel"),
        ("k", 7),
        ("temperature", 2.0),
        ("seed", 1),
        ("value_dtype", "float16"),
        ("vocabulary", 51),
    ],
)
def test_a_mismatch_is_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    written(tmp_path, KINDS[0])
    for open_it in (Reader, Writer):
        with pytest.raises(CacheInvalid) as refusal:
            open_it(tmp_path, replace(describe(KINDS[0]), **{name: value}))
        assert list(refusal.value.fields) == [name]


def test_an_unfinished_or_missing_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheInvalid):
        Reader(tmp_path / "nothing", describe(KINDS[0]))
    written(tmp_path, KINDS[0], steps=4)
    with pytest.raises(CacheInvalid, match="4 of 5"):
        Reader(tmp_path, describe(KINDS[0]))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"format": 2}', b'{"format": 1, "description": {}}'])
def test_a_hostile_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    written(tmp_path, KINDS[0])
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(CacheInvalid):
        Reader(tmp_path, describe(KINDS[0]))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc/passwd"},
        {"first_step": 2},
        {"steps": 1},
        {"size_bytes": -1},
        {"entries": "many"},
        {"sha256": "0" * 64},
    ],
)
def test_a_hostile_list_of_shards_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path, KINDS[0])
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["shards"][0].update(change)
    path.write_text(json.dumps(manifest))
    with pytest.raises(CacheInvalid):
        Reader(tmp_path, describe(KINDS[0])).at(0)


def shuffled(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return arrays | {"ids": arrays["ids"][::-1].copy()}


@pytest.mark.parametrize(
    "change",
    [
        shuffled,
        lambda arrays: arrays | {"ids": np.full_like(arrays["ids"], 50)},
        lambda arrays: arrays | {"values": np.zeros_like(arrays["values"])},
        lambda arrays: arrays | {"lengths": np.zeros_like(arrays["lengths"])},
        lambda arrays: arrays | {"lengths": arrays["lengths"].astype(np.int64)},
        lambda arrays: arrays | {"more": arrays["ids"]},
        lambda arrays: {"ids": arrays["ids"]},
    ],
)
def test_a_shard_with_a_right_checksum_and_wrong_content_is_refused(change: Any, tmp_path: Path) -> None:
    shard = written(tmp_path, KINDS[0]).manifest.shards[0]
    content = save(change(load((tmp_path / shard.name).read_bytes())))
    (tmp_path / shard.name).write_bytes(content)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["shards"][0] |= {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))
    with pytest.raises(CacheInvalid) as refusal:
        Reader(tmp_path, describe(KINDS[0])).at(0)
    assert list(refusal.value.fields) == ["shards"]
