"""Data that belong to somebody: federated HDF5 files in their published format with synthetic content, texts, fonts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import ImageFont

from models_core import catalog
from models_core.data import federated_cifar100, federated_text, font_writers, text_windows
from models_core.data._dataset import DataInvalid, Document
from models_core.errors import SpecInvalid
from models_core.federated import _partitions
from models_core.federated.simulation import experiment, federation, measures
from models_core.recipes import federated_training
from support import federation as fed

DRAWS = np.random.default_rng(0)


def write(path: Path, clients: dict[str, dict[str, Any]]) -> None:
    with h5py.File(path, "w") as file:
        for name, arrays in clients.items():
            for key, values in arrays.items():
                kind = h5py.string_dtype() if isinstance(values, list) else None
                file.create_dataset(f"examples/{name}/{key}", data=values, dtype=kind)


def cifar_client(count: int, first: int) -> dict[str, Any]:
    labels = (first + np.arange(count)) % 100
    images = DRAWS.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return {"image": images, "label": labels.astype(np.int64), "coarse_label": (labels // 5).astype(np.int64)}


def test_federated_cifar100_keeps_its_clients_and_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "federated_cifar100").mkdir()
    clients = {"1": cifar_client(3, 0), "0": cifar_client(2, 98)}
    write(tmp_path / "federated_cifar100/fed_cifar100_train.h5", clients)
    write(tmp_path / "federated_cifar100/fed_cifar100_test.h5", {"9": cifar_client(4, 1)})
    monkeypatch.setenv("STILLROOM_DATA_DIR", str(tmp_path))
    read = federated_cifar100.load()
    assert read.names == ("0", "1")
    assert read.y[read.clients[0]].tolist() == [98, 99]
    assert read.coarse.tolist() == [19, 19, 0, 0, 0]
    pixels = np.rint(read.x[read.clients[1]] * 255).reshape(3, 32, 32, 3)
    np.testing.assert_array_equal(pixels, clients["1"]["image"])
    assert len(federated_cifar100.load(most_clients=1).names) == 1
    spread = _partitions.assemble("federated_cifar100", _partitions.ByOwner(slow_owners=("1",)), 2, seed=0)
    assert (spread.sizes, spread.slow.tolist(), spread.classes) == ([2, 3], [0, 1], 100)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        ({"image": np.zeros((2, 32, 32), np.uint8)}, r"images \[2, 32, 32\]"),
        ({"image": np.zeros((2, 32, 32, 3), np.float32)}, "of float32"),
        ({"label": np.array([0, 100])}, r"labels outside 0 \.\. 99"),
        ({"coarse_label": np.array([-1, 3])}, r"labels outside 0 \.\. 19"),
        ({"label": np.array([1])}, "no equally long arrays"),
        ({"label": np.array([0.5, 1.0])}, "has images"),
    ],
)
def test_malformed_federated_cifar100_is_refused(tmp_path: Path, spoil: dict[str, Any], complaint: str) -> None:
    write(tmp_path / "fed_cifar100_train.h5", {"0": cifar_client(2, 0) | spoil})
    with pytest.raises(DataInvalid, match=complaint):
        federated_cifar100.load(tmp_path)


def test_files_that_are_none_or_announce_too_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "fed_cifar100_train.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataInvalid, match="cannot be read as federated HDF5"):
        federated_cifar100.load(tmp_path)
    with h5py.File(path, "w") as file:
        file.create_dataset("examples/0/image", (2**40, 32, 32, 3), np.uint8, chunks=(1, 32, 32, 3))
        for key in ("label", "coarse_label"):
            file.create_dataset(f"examples/0/{key}", (2**40,), np.int64, chunks=(1024,))
    with pytest.raises(DataInvalid, match="no equally long arrays"):
        federated_cifar100.load(tmp_path)
    write(tmp_path / "fed_cifar100_test.h5", {"0": {"image": np.zeros((1, 32, 32, 3), np.uint8)}})
    with pytest.raises(DataInvalid, match="label"):
        federated_cifar100.load(tmp_path, part="test")


def test_shakespeare_has_a_speaker_and_stackoverflow_a_user_with_questions_and_answers(tmp_path: Path) -> None:
    write(tmp_path / "shakespeare_train.h5", {"PLAY_ROMEO": {"snippets": ["But soft,", "what light"]}})
    spoken = federated_text.documents("shakespeare", tmp_path)
    assert [(one.group, one.text) for one in spoken] == [("PLAY_ROMEO", "But soft,"), ("PLAY_ROMEO", "what light")]
    user = {"tokens": ["how do i", "like so ."], "type": ["question", "answer"]}
    write(tmp_path / "stackoverflow_train.h5", {"0000001": user, "0000002": user})
    asked = federated_text.documents("stackoverflow", tmp_path, most_owners=1, most_texts=1)
    assert [(one.name, one.group, one.text) for one in asked] == [("0000001 0 question", "0000001", "how do i")]
    with pytest.raises(DataInvalid, match="cannot be read"):
        federated_text.documents("stackoverflow", tmp_path, part="held_out")
    write(tmp_path / "shakespeare_test.h5", {"X": {"snippets": np.array([1, 2])}})
    with pytest.raises(DataInvalid, match="is no string"):
        federated_text.documents("shakespeare", tmp_path, part="test")


def test_stackoverflow_users_are_clients_whose_next_words_are_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "federated_stackoverflow").mkdir()
    much = {"tokens": ["how do i sort a list in python"] * 20, "type": ["question"] * 20}
    little = {"tokens": ["thanks"], "type": ["answer"]}
    write(tmp_path / "federated_stackoverflow/stackoverflow_train.h5", {"1": little, "2": much, "3": much, "4": much})
    monkeypatch.setenv("STILLROOM_DATA_DIR", str(tmp_path))
    options = _partitions.ByOwner(window=4, words=5, most=10, slow_owners=("3",))
    spread = _partitions.assemble("stackoverflow", options, 2, seed=0)
    assert (spread.sizes, spread.slow.tolist(), spread.classes) == ([8, 8], [0, 1], 6)
    assert spread.unknown == text_windows.UNKNOWN


def documents() -> list[Document]:
    long, short = "abcdefghij" * 6, "xyz"
    return [Document("1", "ann", long), Document("2", "bob", short), Document("3", "cat", long.upper())]


def test_windows_are_one_token_apart_and_the_last_are_held_out() -> None:
    cut = text_windows.cut(documents(), length=4, least=5)
    # 60 bytes are 12 windows of 5, two of them held out; bob's three bytes are none.
    assert cut.names == ("ann", "cat")
    assert bytes(cut.x[0].astype(np.uint8)) == b"abcd"
    assert bytes(cut.y[0].astype(np.uint8)) == b"bcde"
    assert np.bincount(cut.owner).tolist() == [10, 10]
    assert np.bincount(cut.test_owner).tolist() == [2, 2]
    assert bytes(cut.test_x[1].astype(np.uint8)) == b"fghi"
    assert len(text_windows.cut(documents(), length=4, most=6).x) == 2 * 5
    assert text_windows.cut(documents(), length=4, most_owners=1).names == ("ann",)
    with pytest.raises(DataInvalid, match="No owner has 5 windows of 101 bytes"):
        text_windows.cut(documents(), length=100)


def test_words_are_numbered_by_frequency_and_the_rest_is_unknown() -> None:
    text = "the cat the dog the cat a " * 10
    cut = text_windows.cut([Document("1", "ann", text)], length=6, words=2)
    # The ids: 1 the, 2 cat.
    assert cut.vocabulary == 3
    assert [*cut.x[0].tolist(), int(cut.y[0, -1])] == [1, 2, 1, 0, 1, 2, 0]


def test_unknown_words_count_neither_as_loss_nor_as_hits() -> None:
    text = [Document(str(place), name, "the cat the dog the cat a " * 10) for place, name in enumerate(("ann", "bob"))]
    cut = text_windows.cut(text, length=6, words=2)
    whole = federation.without(federation.of_owners(cut, (6,), cut.vocabulary, slow=("b",)), text_windows.UNKNOWN)
    spec = federated_training.Spec(
        data="stackoverflow", model="lstm", hidden=(4,), clients=20, partition={"kind": "by_owner"}
    )
    task, params = experiment.build_model(spec, whole, fed.KEY)
    always_the = {**params, "head": {"kernel": 0 * params["head"]["kernel"], "bias": np.array([9.0, 5.0, 0.0])}}
    found = measures.build_evaluation(task, whole, whole.slow_clients)(always_the)
    # Of the next words in a window two are unknown; the highest logit, that of "unknown", never counts as a hit.
    assert found["eval/accuracy"] == 0.0
    heard = {**always_the, "head": {**always_the["head"], "bias": np.array([0.0, 5.0, 0.0])}}
    assert measures.build_evaluation(task, whole, [])(heard)["eval/accuracy"] == pytest.approx(0.5)


def test_a_client_with_text_of_its_own_is_judged_by_it() -> None:
    cut = text_windows.cut(documents(), length=4)
    whole = federation.of_owners(cut, (4,), cut.vocabulary, slow=("cat",))
    group, mixes = whole.groups()
    assert group.tolist() == [0, 0, 1, 1]
    assert mixes is None
    assert whole.slow_clients == [1]
    assert [sorted(part.tolist()) for part in whole.parts] == [list(range(10)), list(range(10, 20))]
    with pytest.raises(SpecInvalid) as refused:
        federation.of_owners(cut, (4,), cut.vocabulary, slow=("nobody",))
    assert "partition.slow_owners" in refused.value.fields


def test_every_font_is_a_writer_with_62_glyphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow carries one real font inside its source.
    content = ImageFont.load_default(20).font_bytes
    (tmp_path / "fonts").mkdir()
    for name in ("brush", "pen"):
        (tmp_path / f"fonts/{name}.ttf").write_bytes(content)
    monkeypatch.setenv("STILLROOM_DATA_DIR", str(tmp_path))
    fonts = font_writers.load(seed=0, side=12, images=2)
    assert fonts.names == ("brush", "pen")
    assert fonts.x.shape == (2 * 62 * 2, 144)
    assert fonts.test_x.shape == (2 * 62, 144)
    assert fonts.y[:4].tolist() == [0, 0, 1, 1]
    assert 0.02 < fonts.x.mean() < 0.5
    # The same glyph of the same font, slightly turned and moved: alike, not the same.
    same, other = np.corrcoef(fonts.x[0], fonts.x[1])[0, 1], np.corrcoef(fonts.x[0], fonts.x[2])[0, 1]
    assert other < same < 0.9999
    np.testing.assert_array_equal(font_writers.load(seed=0, side=12, images=2).x, fonts.x)
    options = _partitions.ByOwner(side=12, images=2, slow_owners=("pen",))
    spread = _partitions.assemble("fonts", options, 2, seed=0)
    assert (spread.sizes, spread.slow.tolist(), spread.classes) == ([124, 124], [0, 1], 62)
    # A second format of the same font is no second writer; who stands beside it changes no image of a font.
    (tmp_path / "fonts/brush.otf").write_bytes(content)
    (tmp_path / "fonts/pen.ttf").unlink()
    np.testing.assert_array_equal(font_writers.load(seed=0, side=12, images=2).x, fonts.x[:124])
    (tmp_path / "fonts/brush.ttf").write_bytes(base64.b64encode(content))
    with pytest.raises(DataInvalid, match="cannot be read as a font"):
        font_writers.load(seed=0)


def test_a_font_without_latin_letters_is_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pen.ttf").write_bytes(ImageFont.load_default(20).font_bytes)
    # A character that the font lacks: one of another script among the wanted ones.
    monkeypatch.setattr(font_writers, "CHARACTERS", font_writers.CHARACTERS[:-1] + "\u0416")
    with pytest.raises(DataInvalid, match="with digits and Latin letters"):
        font_writers.load(tmp_path, seed=0)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"data": "stdlib_prose", "model": "lstm"}, "partition.kind"),
        ({"data": "digits", "partition": {"kind": "by_owner"}}, "partition.kind"),
        ({"data": "stdlib_prose", "partition": {"kind": "by_owner"}}, "model"),
        ({"data": "digits", "model": "lstm"}, "model"),
        ({"data": "digits", "clients": 2000}, "clients"),
    ],
)
def test_data_and_model_must_fit(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        catalog.recipe("federated_training").parse(changes)
    assert path in refused.value.fields
