"""Nine men say two vowels, recorded as 7 to 29 frames of twelve LPC coefficients: who speaks? A client is a speaker.

Every client so knows one label alone, its own. Source: Kudo, Toyama and Shimbo, "Multidimensional curve classification
using passing-through regions", Pattern Recognition Letters 20 (1999), from the UCI archive; read as aeon's .ts files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from models_core.data._dataset import DataInvalid, Source, local_folder, read_local

SOURCE = Source(
    title="Japanese vowels",
    origin="PyPI's aeon 1.6.0, folder aeon/datasets/data/JapaneseVowels",
    licence="CC BY 4.0",
    sha256=None,
)
SHA256 = {
    "TRAIN": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
    "TEST": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
}
FRAMES, COEFFICIENTS, SPEAKERS = 29, 12, 9
_LARGEST_FILE = 2 << 20


@dataclass(frozen=True, slots=True)
class Utterances:
    """x: frames after frames, zeros after the last one; y and owner: the speaker's place in `names`; test_* alike."""

    names: tuple[str, ...]
    x: Float32[np.ndarray, "examples values"]
    y: Int32[np.ndarray, " examples"]
    test_x: Float32[np.ndarray, "tests values"]
    test_y: Int32[np.ndarray, " tests"]

    @property
    def owner(self) -> Int32[np.ndarray, " examples"]:
        """Whose each utterance is."""
        return self.y

    @property
    def test_owner(self) -> Int32[np.ndarray, " tests"]:
        """The same of the test."""
        return self.test_y


def load(folder: str | Path | None = None, *, most_speakers: int | None = None) -> Utterances:
    """270 utterances for training and 370 for the test, of all speakers or of the first ones; raises DataInvalid."""
    found = local_folder("japanese_vowels", folder)
    speakers = min(most_speakers or SPEAKERS, SPEAKERS)
    parts = []
    for part, sha256 in SHA256.items():
        name = f"JapaneseVowels_{part}.ts"
        x, y = parse(read_local(found, name, limit=_LARGEST_FILE, sha256=sha256), name)
        parts += [x[y < speakers], y[y < speakers]]
    return Utterances(tuple(f"speaker {number + 1}" for number in range(speakers)), *parts)


def parse(content: bytes, name: str) -> tuple[Float32[np.ndarray, "examples values"], Int32[np.ndarray, " examples"]]:
    """A .ts file of this set: a line an utterance, coefficients between colons, then the speaker 1 .. 9."""
    head, mark, body = content.decode("ascii", "replace").partition("@data")
    if not mark or "@problemName JapaneseVowels" not in head:
        raise DataInvalid(f"{name} is not the .ts file of JapaneseVowels.")
    rows, labels = [], []
    for number, line in enumerate(body.strip().splitlines(), 1):
        *series, label = line.strip().split(":")
        try:
            values = [[float(value) for value in one.split(",")] for one in series]
            speaker = int(label)
        except ValueError:
            raise DataInvalid(f"{name}: utterance {number} holds something that is no number.") from None
        lengths = {len(one) for one in values}
        if len(values) != COEFFICIENTS or len(lengths) != 1 or not 1 <= max(lengths) <= FRAMES:
            raise DataInvalid(f"{name}: utterance {number} has not {COEFFICIENTS} series of one length, 1 to {FRAMES}.")
        if not 1 <= speaker <= SPEAKERS or not all(math.isfinite(value) for one in values for value in one):
            raise DataInvalid(f"{name}: utterance {number} has a speaker or a value out of range.")
        frames = np.zeros((FRAMES, COEFFICIENTS), np.float32)
        frames[: max(lengths)] = np.array(values, np.float32).T
        rows.append(frames.ravel())
        labels.append(speaker - 1)
    if not rows:
        raise DataInvalid(f"{name} holds no utterance.")
    return np.stack(rows), np.array(labels, np.int32)
