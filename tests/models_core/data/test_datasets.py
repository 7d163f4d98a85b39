"""Data sets: the real files, their shapes, and a refusal of any other file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from models_core.data import _dataset, digits, mnist5k, stdlib_text
from models_core.data.order import BatchOrder


@pytest.mark.parametrize(("module", "side", "train", "test"), [(digits, 8, 1437, 360), (mnist5k, 28, 4000, 1000)])
def test_images_are_whole_scaled_and_split_once(module, side, train, test) -> None:
    images = module.load()
    assert images.train_x.shape == (train, side**2)
    assert images.test_x.shape == (test, side**2)
    assert images.train_x.min() == 0
    assert images.train_x.max() == 1
    assert set(np.unique(images.train_y)) == set(np.unique(images.test_y)) == set(range(10))
    train_rows = {row.tobytes() for row in images.train_x}
    # A handful of the scanned digits are equal pixel by pixel; a leaky split would show hundreds.
    assert sum(row.tobytes() in train_rows for row in images.test_x) < 5
    np.testing.assert_array_equal(images.train_x, module.load().train_x)


def test_an_altered_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "altered"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "data.csv").write_bytes(b"1,2,3")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(_dataset.DataInvalid, match="the recorded one is 00"):
        _dataset.read_packaged("altered", ("data.csv",), "00")
    with pytest.raises(_dataset.DataInvalid, match=r"does not carry other\.csv"):
        _dataset.read_packaged("altered", ("other.csv",), "00")
    with pytest.raises(_dataset.DataInvalid, match="not installed"):
        _dataset.read_packaged("surely_absent", ("data.csv",), "00")
    assert "altered" not in sys.modules


def test_tokens_round_trip_and_leave_room_for_specials() -> None:
    text = "def f(x):\n    return 'é' * x\n"
    tokens = stdlib_text.encode(text.encode())
    assert tokens[0] == stdlib_text.BOS
    assert tokens[-1] == stdlib_text.EOS
    assert tokens[1:-1].min() >= 3
    assert tokens.max() < stdlib_text.VOCABULARY
    assert stdlib_text.decode(tokens) == text


def test_packing_makes_every_token_a_target_once() -> None:
    stream = np.arange(11, dtype=np.int32)
    rows = stdlib_text.pack(stream, 3)
    np.testing.assert_array_equal(rows, [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]])


def test_standard_library_is_real_python_split_by_file() -> None:
    text = stdlib_text.load(length=32, train_bytes=50_000, validation_bytes=20_000)
    assert text.train.shape[1] == 33
    assert len(text.train) * 32 <= 50_000 + 200
    assert "import" in stdlib_text.decode(text.train.reshape(-1))
    assert not {row.tobytes() for row in text.validation[:, 1:]} & {row.tobytes() for row in text.train[:, 1:]}
    again = stdlib_text.load(length=32, train_bytes=50_000, validation_bytes=20_000)
    assert again.fingerprint == text.fingerprint
    np.testing.assert_array_equal(again.train, text.train)


def test_too_little_text_is_an_error() -> None:
    with pytest.raises(_dataset.DataInvalid, match="too small"):
        stdlib_text.load(length=5000, train_bytes=100, validation_bytes=100)


def test_batches_cover_an_epoch_without_repeats_and_depend_on_the_step_alone() -> None:
    order = BatchOrder(seed=1, examples=10, batch_size=3)
    epoch = np.concatenate([order.at(step) for step in range(3)])
    assert len(np.unique(epoch)) == 9
    late = order.at(100)
    np.testing.assert_array_equal(order.at(1), BatchOrder(1, 10, 3).at(1))
    np.testing.assert_array_equal(late, BatchOrder(1, 10, 3).at(100))
    assert not np.array_equal(order.at(0), order.at(3))
    assert not np.array_equal(order.at(0), BatchOrder(2, 10, 3).at(0))


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="batch of 11"):
        BatchOrder(seed=0, examples=10, batch_size=11)
