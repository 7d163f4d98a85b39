"""The reader of the nine speakers, on small made-up files in the published format."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from models_core.data import japanese_vowels
from models_core.data._dataset import DataInvalid
from models_core.federated import _partitions
from models_core.federated.simulation import federation as worlds

HEAD = "# about\n@problemName JapaneseVowels\n@dimensions 12\n@classLabel true 1 2 3\n@data\n"


def spoken(frames: int, speaker: int) -> str:
    """Coefficient c of frame f is c + f / 10."""
    series = [",".join(str(c + f / 10) for f in range(frames)) for c in range(12)]
    return ":".join([*series, str(speaker)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "japanese_vowels"
    place.mkdir()
    hashes = {}
    for part, speakers in (("TRAIN", [1, 3, 3]), ("TEST", [2, 3])):
        content = (HEAD + "\n".join(spoken(7 + number, who) for number, who in enumerate(speakers)) + "\n").encode()
        (place / f"JapaneseVowels_{part}.ts").write_bytes(content)
        hashes[part] = hashlib.sha256(content).hexdigest()
    monkeypatch.setenv("STILLROOM_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(japanese_vowels, "SHA256", hashes)
    return place


def test_utterances_are_frames_after_frames_with_silence_at_the_end(folder: Path) -> None:
    read = japanese_vowels.load()
    frames = read.x.reshape(3, 29, 12)
    np.testing.assert_allclose(frames[1, :8], np.arange(12)[None] + np.arange(8)[:, None] / 10, rtol=1e-6)
    assert not frames[1, 8:].any()
    assert (read.y.tolist(), read.test_y.tolist()) == ([0, 2, 2], [1, 2])
    assert (len(read.names), read.names[2]) == (9, "speaker 3")


def test_a_client_is_a_speaker_and_knows_one_label(folder: Path) -> None:
    assert japanese_vowels.load(most_speakers=2).y.tolist() == [0]
    spread: worlds.Federation = _partitions.assemble(
        "japanese_vowels", _partitions.ByOwner(slow_owners=("speaker 3",)), 3, seed=0
    )
    assert [set(spread.y[part].tolist()) for part in spread.parts] == [{0}, set(), {2}]
    assert (spread.shape, spread.classes, spread.slow.tolist()) == ((29, 12, 1), 9, [0, 0, 1])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("@data\n1:2", "is not the .ts file"),
        (HEAD, "holds no utterance"),
        (HEAD + spoken(7, 10), "utterance 1 has a speaker"),
        (HEAD + spoken(30, 1), "series of one length"),
        (HEAD + spoken(7, 1) + "\n" + spoken(7, 1).replace("0.1", "x", 1), "utterance 2 holds something"),
        (HEAD + spoken(7, 1).replace("0.1", "nan", 1), "out of range"),
        (HEAD + spoken(7, 1).replace("0.0,", "", 1), "series of one length"),
    ],
)
def test_a_damaged_file_is_refused_with_the_place(content: str, complaint: str) -> None:
    with pytest.raises(DataInvalid, match=complaint):
        japanese_vowels.parse(content.encode(), "JapaneseVowels_TRAIN.ts")


def test_another_file_than_the_recorded_one_is_refused(folder: Path) -> None:
    (folder / "JapaneseVowels_TEST.ts").write_text(HEAD + spoken(7, 1))
    with pytest.raises(DataInvalid, match="sha256"):
        japanese_vowels.load()
