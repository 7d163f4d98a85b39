"""Image sets from local files: their true formats, written here with synthetic content, and refusal of hostile ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from models_core.data import _cifar, _idx, cifar10, cifar100, emnist, fashion_mnist, federated_emnist, image_sets, mnist
from models_core.data._dataset import DataInvalid, read_local

DRAWS = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def synthetic(count: int) -> np.ndarray:
    return DRAWS.integers(0, 256, size=(count, 28, 28), dtype=np.uint8)


def write_idx(folder: Path, names, *, labels=(3, 9), packed: bool = True) -> list[np.ndarray]:
    written = []
    for index, name in enumerate(names):
        array = synthetic(len(labels)) if index % 2 == 0 else np.array(labels, np.uint8)
        content = idx(array)
        (folder / (name + ".gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
        written.append(array)
    return written


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_files_are_read_packed_or_not(tmp_path: Path, packed: bool) -> None:
    images, labels, *_ = write_idx(tmp_path, mnist.FILES, packed=packed)
    read = mnist.load(tmp_path)
    assert read.shape == (28, 28, 1)
    np.testing.assert_array_equal(np.rint(read.train_x * 255).reshape(images.shape), images)
    np.testing.assert_array_equal(read.train_y, labels)


def test_the_data_folder_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_DATA_DIR", str(tmp_path))
    with pytest.raises(DataInvalid, match="There is no folder"):
        image_sets.load("mnist")
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist", mnist.FILES)
    assert len(image_sets.load("mnist").test_y) == 2


def test_fashion_mnist_refuses_other_files_of_the_same_format(tmp_path: Path) -> None:
    write_idx(tmp_path, mnist.FILES)
    with pytest.raises(DataInvalid, match="the recorded one is c59f468a"):
        fashion_mnist.load(tmp_path)
    assert fashion_mnist.load(tmp_path, verify=False).train_x.shape == (2, 784)


def test_emnist_is_put_upright_and_letters_count_from_zero(tmp_path: Path) -> None:
    names = [f"emnist-letters-{part}" for part in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")]
    names += [name.replace("train", "test") for name in names]
    images, *_ = write_idx(tmp_path, names, labels=(1, 26))
    read = emnist.load(tmp_path, split="letters")
    np.testing.assert_array_equal(np.rint(read.train_x[0] * 255).reshape(28, 28), images[0].T)
    assert read.train_y.tolist() == [0, 25]
    assert read.classes == 26
    write_idx(tmp_path, names, labels=(0, 26))
    with pytest.raises(DataInvalid, match=r"not all in 1 \.\. 26"):
        emnist.load(tmp_path, split="letters")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda content: b"", "truncated: 0 bytes"),
        (lambda content: content[:10], "truncated: 10 bytes"),
        (lambda content: content[:-1], "announces 2x28x28 bytes but holds 1567"),
        (lambda content: content + b"x", "but holds 1569"),
        (lambda content: b"\0\0\x0d\x03" + content[4:], "begins 00000d03"),
        (lambda content: b"\0\0\x08\x02" + content[4:], "with 3 axes"),
        # 2^32 - 1 cubed: wraps around in 64 bits, must not in the check.
        (lambda content: content[:4] + b"\xff" * 12 + content[16:], "announces 4294967295x4294967295x4294967295"),
        (lambda content: content[:4] + b"\0" * 4 + content[8:], "announces 0x28x28"),
    ],
)
def test_idx_headers_are_not_believed(spoil, complaint: str) -> None:
    with pytest.raises(DataInvalid, match=complaint):
        _idx.parse(spoil(idx(synthetic(2))), "file", rank=3)


def test_more_labels_than_images_and_wrong_sides_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, mnist.FILES, packed=False)
    (tmp_path / mnist.FILES[1]).write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataInvalid, match="2 images, the file of its labels 3"):
        mnist.load(tmp_path)
    (tmp_path / mnist.FILES[0]).write_bytes(idx(np.zeros((3, 4, 4), np.uint8)))
    with pytest.raises(DataInvalid, match="3x4x4 bytes, not images of 28x28"):
        mnist.load(tmp_path)
    (tmp_path / mnist.FILES[0]).unlink()
    with pytest.raises(DataInvalid, match=r"neither train-images-idx3-ubyte nor train-images-idx3-ubyte\.gz"):
        mnist.load(tmp_path)


def test_packed_bombs_and_damaged_packing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(DataInvalid, match="larger than the 1000 bytes"):
        read_local(tmp_path, "bomb", limit=1000)
    for content in (b"not packed", gzip.compress(bytes(100))[:-9], gzip.compress(b"abc")[:8] + b"\xff" * 20):
        (tmp_path / "bad.gz").write_bytes(content)
        with pytest.raises(DataInvalid, match="cannot be read"):
            read_local(tmp_path, "bad", limit=1000)


def cifar_record(labels: list[int], value: int) -> bytes:
    planes = np.zeros((3, 32, 32), np.uint8)
    planes[1, 2, 3] = value
    return bytes(labels) + planes.tobytes()


def test_cifar_planes_become_channels(tmp_path: Path) -> None:
    for part in range(1, 6):
        (tmp_path / f"data_batch_{part}.bin").write_bytes(cifar_record([part], 255))
    (tmp_path / "test_batch.bin").write_bytes(cifar_record([9], 51))
    read = cifar10.load(tmp_path)
    assert read.train_y.tolist() == [1, 2, 3, 4, 5]
    image = read.test_x[0].reshape(read.shape)
    assert image[2, 3, 1] == np.float32(0.2)
    assert image.sum() == np.float32(0.2)
    (tmp_path / "train.bin").write_bytes(cifar_record([19, 99], 1) * 2)
    (tmp_path / "test.bin").write_bytes(cifar_record([0, 7], 1))
    hundred = cifar100.load(tmp_path)
    assert hundred.train_y.tolist() == [99, 99]
    assert (hundred.test_y.tolist(), hundred.classes) == ([7], 100)


def test_cifar_refuses_partial_records_and_unknown_labels() -> None:
    for content in (b"", cifar_record([1], 0)[:-1], cifar_record([1, 2], 0)):
        with pytest.raises(DataInvalid, match="whole number of records"):
            _cifar.parse(content, "file", label_bytes=1, classes=10)
    with pytest.raises(DataInvalid, match="label 10; there are 10"):
        _cifar.parse(cifar_record([10], 0), "file", label_bytes=1, classes=10)


def write_writers(path: Path, **changed: object) -> None:
    with h5py.File(path, "w") as file:
        for name, count in (("f0001_11", 3), ("f0000_14", 2)):
            group = file.create_group(f"examples/{name}")
            values = {"pixels": np.full((count, 28, 28), 0.5, np.float32), "label": np.arange(count, dtype=np.int32)}
            for key, value in (values | changed).items():
                group.create_dataset(key, data=value) if isinstance(value, np.ndarray) else value(group)


def test_federated_emnist_has_a_client_a_writer(tmp_path: Path) -> None:
    write_writers(tmp_path / "fed_emnist_train.h5")
    writers = federated_emnist.load(tmp_path)
    assert writers.names == ("f0000_14", "f0001_11")
    assert [rows.tolist() for rows in writers.clients] == [[0, 1], [2, 3, 4]]
    assert writers.y.tolist() == [0, 1, 0, 1, 2]
    assert writers.x.shape == (5, 784)
    assert len(federated_emnist.load(tmp_path, most_clients=1).names) == 1


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"label": np.full(2, 62, np.int32)}, r"labels \[2\]|outside 0 \.\. 61"),
        ({"label": np.zeros(9, np.int32)}, r"labels \[9\]"),
        ({"label": np.zeros(2)}, "labels"),
        ({"pixels": np.zeros((2, 28, 27), np.float32), "label": np.zeros(2, np.int32)}, "28, 27"),
        ({"pixels": np.full((2, 28, 28), 7, np.float32), "label": np.zeros(2, np.int32)}, r"outside 0 \.\. 1"),
        ({"pixels": np.full((2, 28, 28), np.nan, np.float32), "label": np.zeros(2, np.int32)}, r"outside 0 \.\. 1"),
        ({"pixels": lambda g: g.create_dataset("pixels", (10**9, 28, 28), "f4", chunks=(1, 28, 28))}, "1000000000"),
        ({"pixels": lambda g: g.create_group("pixels")}, "no arrays"),
        ({"pixels": lambda g: None}, "cannot be read"),
    ],
)
def test_federated_emnist_refuses_hostile_files(tmp_path: Path, changed, complaint: str) -> None:
    write_writers(tmp_path / "fed_emnist_train.h5", **changed)
    with pytest.raises(DataInvalid, match=complaint):
        federated_emnist.load(tmp_path)


def test_what_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fed_emnist_train.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    for part in ("train", "test"):
        with pytest.raises(DataInvalid, match="cannot be read as federated EMNIST"):
            federated_emnist.load(tmp_path, part=part)
