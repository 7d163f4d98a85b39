"""Readers on files made here: exact on good ones, a named error on hostile ones, never anything else."""

from __future__ import annotations

import contextlib
import json
import random
import struct
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as reference_crc32c
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch.utils.tensorboard.summary import hparams

from stillroom_client.imports.neptune import read_neptune
from stillroom_client.imports.source import BadSource, SourceRun
from stillroom_client.imports.tables import Mapped, read_table
from stillroom_client.imports.tensorboard import EventFolder, event_folders, read_tensorboard
from stillroom_client.imports.tfrecord import _crc32c_slow
from stillroom_client.imports.wandb import BLOCK, HEAD, MAGIC, read_wandb, records
from stillroom_client.imports.wire import fields


@given(st.binary(max_size=200))
def test_the_checksum_is_tensorboards(data: bytes) -> None:
    assert _crc32c_slow(data) == reference_crc32c(data)


@given(st.binary(max_size=100))
def test_bytes_that_are_no_message_are_refused_or_read_but_never_crash(data: bytes) -> None:
    with contextlib.suppress(BadSource):
        list(fields(data))


def events(folder: Path, n: int) -> Path:
    writer = EventFileWriter(str(folder))
    for step in range(n):
        value = Summary.Value(tag="x", simple_value=step / 3)
        writer.add_event(Event(wall_time=1.7e9 + step, step=step, summary=Summary(value=[value])))
    writer.close()
    return next(folder.iterdir())


def points(run: SourceRun, key: str = "x") -> list[tuple[int, float]]:
    column = run.columns.get(key)
    return list(zip(column.step, column.value, strict=True)) if column else []


def test_a_file_that_grows_is_read_on_and_a_torn_record_waits(tmp_path: Path) -> None:
    path = events(tmp_path / "a", 20)
    whole = path.read_bytes()
    folder = EventFolder(path.parent, "a")
    seen = []
    for size in [*range(0, len(whole), 37), len(whole)]:
        path.write_bytes(whole[:size])
        folder.read()
        seen.append(len(points(folder.run)))
    assert seen == sorted(seen)
    assert [step for step, _ in points(folder.run)] == list(range(20))
    assert folder.unfinished == []


def test_a_changed_bit_anywhere_is_found_and_named(tmp_path: Path) -> None:
    path = events(tmp_path / "a", 5)
    whole = path.read_bytes()
    good = points(next(read_tensorboard(tmp_path)))
    draw = random.Random(0)
    for at in draw.sample(range(len(whole)), 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :])
        with pytest.raises(BadSource, match="tfevents"):
            next(read_tensorboard(tmp_path))
    path.write_bytes(whole)
    assert points(next(read_tensorboard(tmp_path))) == good


def test_hparams_become_the_configuration(tmp_path: Path) -> None:
    writer = EventFileWriter(str(tmp_path))
    for summary in hparams({"lr": 0.5, "kind": "adam", "nesterov": True}, {"accuracy": 1}):
        writer.add_event(Event(summary=summary))
    writer.close()
    assert next(read_tensorboard(tmp_path)).config == {"lr": 0.5, "kind": "adam", "nesterov": True}


def test_a_folder_without_events_is_named(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadSource, match=place.name):
            event_folders(place)


# --- W&B: an encoder of the format's description, independent of the reader.


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def pack(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    body = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(body)) + body


def item(key: str, value: Any, *nested: str) -> bytes:
    named = b"".join(pack(2, part) for part in nested) if nested else pack(1, key)
    return named + pack(16, json.dumps(value))


def wandb_log(messages: list[bytes]) -> bytes:
    out = bytearray(MAGIC)
    for message in messages:
        rest, first = message, True
        while first or rest:
            room = BLOCK - len(out) % BLOCK
            if room < HEAD:
                out += bytes(room)
                room = BLOCK
            part, rest = rest[: room - HEAD], rest[room - HEAD :]
            kind = 1 if first and not rest else 2 if first else 3 if rest else 4
            out += struct.pack("<IHB", zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            first = False
    return bytes(out)


def wandb_run(folder: Path, n: int = 3, long: int = 0) -> Path:
    described = pack(1, "abc") + pack(8, "pretty name") + pack(10, "tag") + pack(17, pack(1, 1_700_000_000))
    config = pack(1, item("lr", 0.1)) + pack(1, item("_wandb", {"x": 1}))
    messages = [pack(17, described), pack(5, config)]
    for step in range(n):
        row = item("_timestamp", 1.7e9 + step), item("", step * 2.5, "train", "loss"), item("note", "x" * long)
        messages.append(pack(2, b"".join(pack(1, one) for one in row) + pack(2, pack(1, step))))
    messages.append(pack(13, pack(2, pack(1, 1_700_000_001)) + pack(3, "hello\nwor")))
    messages.append(pack(13, pack(2, pack(1, 1_700_000_002)) + pack(3, "ld\n")))
    messages.append(pack(7, pack(2, pack(1, 1_700_000_005)) + pack(3, item("system.cpu", 12.5))))
    messages.append(pack(18, pack(1, 0)))
    path = folder / "offline-run-1" / "run-abc.wandb"
    path.parent.mkdir(parents=True)
    path.write_bytes(wandb_log(messages))
    return path


@pytest.mark.parametrize("long", [0, 20_000, 100_000])
def test_wandb_over_blocks(tmp_path: Path, long: int) -> None:
    wandb_run(tmp_path, n=7, long=long)
    (run,) = read_wandb(tmp_path)
    assert (run.id, run.name, run.state, run.config) == ("abc", "pretty name", "SUCCEEDED", {"lr": 0.1})
    assert points(run, "train/loss") == [(n, n * 2.5) for n in range(7)]
    assert list(run.columns["train/loss"].time) == [1.7e9 + n for n in range(7)]
    assert [text for _, text in run.logs] == ["hello", "world"]
    assert points(run, "system/cpu") == [(5, 12.5)]


def test_a_wandb_log_cut_anywhere_gives_a_beginning_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    path = wandb_run(tmp_path)
    whole = path.read_bytes()
    kept = list(records(path))
    for size in range(HEAD, len(whole), 5):
        path.write_bytes(whole[:size])
        found = list(records(path))
        assert found == kept[: len(found)]
    path.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    with pytest.raises(BadSource, match=r"run-abc\.wandb"):
        list(read_wandb(tmp_path))
    path.write_bytes(b"no log at all")
    with pytest.raises(BadSource, match="not a W&B log"):
        list(read_wandb(path))


def neptune_rows() -> dict[str, list[Any]]:
    stamp = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        ("metrics/loss", "float_series", Decimal("0"), stamp, None, 1.5, None),
        ("metrics/loss", "float_series", Decimal("0.5"), stamp, None, 1.0, None),
        ("config/lr", "float", None, None, None, 0.1, None),
        ("config/n", "int", None, None, 3, None, None),
        ("sys/name", "string", None, None, None, None, "nice"),
    ]
    names = ("attribute_path", "attribute_type", "step", "timestamp", "int_value", "float_value", "string_value")
    columns: dict[str, list[Any]] = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return {"project_id": ["w/p"] * len(rows), "run_id": ["RUN-1"] * len(rows), **columns}


def test_neptunes_parquet(tmp_path: Path) -> None:
    columns = neptune_rows()
    file = tmp_path / "p" / "RUN-1_part_0.parquet"
    file.parent.mkdir()
    step = pa.array(columns.pop("step"), pa.decimal128(18, 6))
    pq.write_table(pa.table({**columns, "step": step}), file)
    (run,) = read_neptune(tmp_path, step_multiplier=2)
    assert (run.id, run.name, run.config) == ("w/p/RUN-1", "nice", {"config/lr": 0.1, "config/n": 3})
    assert points(run, "metrics/loss") == [(0, 1.5), (1, 1.0)]
    with pytest.raises(BadSource, match="--step-multiplier"):
        list(read_neptune(tmp_path))
    file.write_bytes(b"PAR1 broken PAR1")
    with pytest.raises(BadSource, match="RUN-1_part_0"):
        list(read_neptune(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.csv", "step,loss\n0,1,2\n", "line 2"),
        ("a.csv", "step,loss\n0.5,1\n", "step"),
        ("a.csv", "", "no rows"),
        ("a.jsonl", '{"step": 0}\n[1]\n', "line 2"),
        ("a.jsonl", '{"step": 0', "line 1"),
        ("a.csv", "loss,time\n1,soon\n", "time"),
        ("a.csv", "step\n99999999999999999999\n", "step"),
    ],
)
def test_a_bad_table_is_named_with_its_place(tmp_path: Path, name: str, text: str, place: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadSource, match=place):
        list(read_table(tmp_path / name, Mapped()))


def test_a_tables_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("global_step;loss;word;empty\n3;0.5;x;\n4;nan;y;\n")
    (run,) = read_table(path, Mapped(rename={"loss": "train/loss"}))
    assert [step for step, _ in points(run, "train/loss")] == [3, 4]
    assert list(run.columns) == ["train/loss"]
    with pytest.raises(BadSource, match="word"):
        list(read_table(path, Mapped(rename={"word": "w"})))
    with pytest.raises(BadSource, match="no column iteration"):
        list(read_table(path, Mapped(step="iteration")))
