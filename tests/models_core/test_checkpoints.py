"""Checkpoint folders: exact, verified, pruned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models_core import checkpoints
from models_core.errors import CheckpointInvalid
from models_core.events import Checkpoint

IDENTITY = checkpoints.Identity(recipe="r", version="1", spec_hash="ab", seed=3)


def some(step: int) -> Checkpoint:
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3) + step, "n": np.array(step, np.int32)}
    return Checkpoint(step, arrays, {"seconds": 1.25, "reached": None})


def test_what_was_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    folder, files = checkpoints.save(tmp_path, some(7), IDENTITY)
    assert folder == tmp_path / "step-000000007"
    assert {file.name for file in files} == {path.name for path in folder.iterdir()}
    loaded = checkpoints.load(folder, IDENTITY)
    assert loaded.step == 7
    assert loaded.state == {"seconds": 1.25, "reached": None}
    assert loaded.arrays["w"].tobytes() == some(7).arrays["w"].tobytes()
    assert loaded.arrays["n"].shape == ()
    assert loaded.arrays["n"].dtype == np.int32


def test_only_the_newest_two_are_kept_and_no_temporary_remains(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        checkpoints.save(tmp_path, some(step), IDENTITY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000002", "step-000000030"]


def test_going_back_drops_the_abandoned_future(tmp_path: Path) -> None:
    for step in (10, 20, 15):
        checkpoints.save(tmp_path, some(step), IDENTITY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000010", "step-000000015"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, some(5), IDENTITY)
    folder, _ = checkpoints.save(tmp_path, replace(some(5), state={"seconds": 2.0}), IDENTITY)
    assert checkpoints.load(folder, IDENTITY).state == {"seconds": 2.0}


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (replace(IDENTITY, recipe="s"), "recipe"),
        (replace(IDENTITY, version="2"), "version"),
        (replace(IDENTITY, spec_hash="cd"), "spec_hash"),
        (replace(IDENTITY, seed=4), "seed"),
    ],
)
def test_another_runs_checkpoint_is_refused(tmp_path: Path, other: checkpoints.Identity, field: str) -> None:
    folder, _ = checkpoints.save(tmp_path, some(1), IDENTITY)
    with pytest.raises(CheckpointInvalid, match=f"its {field} is"):
        checkpoints.load(folder, other)


@pytest.mark.parametrize("name", ["arrays.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    folder, _ = checkpoints.save(tmp_path, some(1), IDENTITY)
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    damaged = {"flip": bytes([content[0] ^ 1]) + content[1:], "truncate": content[:-1]}
    for changed in [damaged[damage]] if damage in damaged else []:
        path.write_bytes(changed)
    with pytest.raises(CheckpointInvalid, match=name):
        checkpoints.load(folder, IDENTITY)


def test_a_folder_without_manifest_or_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="no manifest"):
        checkpoints.load(tmp_path, IDENTITY)
    folder, _ = checkpoints.save(tmp_path, some(1), IDENTITY)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(CheckpointInvalid, match="format 1"):
        checkpoints.load(folder, IDENTITY)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CheckpointInvalid, match="cannot be read"):
        checkpoints.load(folder, IDENTITY)
