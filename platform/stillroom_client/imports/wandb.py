"""W&B runs kept offline: `run-<id>.wandb`, protocol buffers in blocks of 32 KiB. The wandb package is not needed.

Framing as in LevelDB's log format with W&B's header (":W&B", 0xBEE1, version 0) and zlib's CRC-32 over type and data;
records by the field numbers of W&B's public `wandb_internal.proto`. Taken: history, config, summary, console output,
system metrics, exit code, and the files in `files/`. Written against the format's description and files made by it,
not yet against files of every version of the client.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from stillroom_client.imports.source import BadSource, FileOf, SourceRun, flat
from stillroom_client.imports.wire import fields, raw, signed, text

BLOCK = 32 * 1024
HEAD = 7
MAGIC = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
HISTORY, SUMMARY, OUTPUT, CONFIG, STATS, RAW_OUTPUT, RUN, EXIT = 2, 3, 4, 5, 7, 13, 17, 18
_SEEDS = {kind: zlib.crc32(bytes([kind])) for kind in (FULL, FIRST, MIDDLE, LAST)}
SKIPPED_FILES = ("wandb-summary.json", "config.yaml", "output.log")


def read_wandb(root: Path) -> Iterator[SourceRun]:
    """Every `.wandb` file at or below `root`. Raises BadSource."""
    paths = [root] if root.is_file() else sorted(root.rglob("*.wandb"))
    if not paths:
        raise BadSource(f"{root}: no run-*.wandb files at or below it.")
    for path in paths:
        yield _run(path)


def records(path: Path) -> Iterator[bytes]:
    """The records of a log, joined over blocks. A last record that is not whole ends it: the writer was killed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadSource(f"{path}: {error.strerror or error}.") from None
    if data[:HEAD] != MAGIC:
        raise BadSource(f"{path}: not a W&B log: it does not begin with ':W&B' and version 0.")
    at, parts = HEAD, b""
    while True:
        room = BLOCK - at % BLOCK
        if room < HEAD:
            at += room
        if at + HEAD > len(data):
            return
        check, length, kind = struct.unpack_from("<IHB", data, at)
        if check == length == kind == 0:
            return  # a block that was reserved and never written
        body = data[at + HEAD : at + HEAD + length]
        if len(body) < length:
            return
        if kind not in _SEEDS or zlib.crc32(body, _SEEDS[kind]) != check:
            raise BadSource(f"{path}: byte {at}: the checksum of a record does not match.")
        at += HEAD + length
        if kind in (FULL, FIRST):
            parts = body
        else:
            parts += body
        if kind in (FULL, LAST):
            yield parts


def _run(path: Path) -> SourceRun:
    reader = _Reader(path.stem.removeprefix("run-"))
    for number, record in enumerate(records(path), 1):
        try:
            reader.take(record)
        except BadSource as error:
            raise BadSource(f"{path}: record {number}: {error}") from None
    return reader.finished(path)


class _Reader:
    def __init__(self, run: str) -> None:
        self.source = SourceRun(id=run, name=run, state="FAILED")
        self._summary: dict[str, Any] = {}
        self._began: Optional[float] = None
        self._steps = 0
        self._line = ""

    def take(self, record: bytes) -> None:
        for number, _, value in fields(record):
            if number == HISTORY:
                self._history(raw(value))
            elif number == CONFIG:
                self._config(raw(value))
            elif number == SUMMARY:
                self._summary.update(_items(raw(value), 1))
            elif number == STATS:
                self._stats(raw(value))
            elif number in (OUTPUT, RAW_OUTPUT):
                self._output(raw(value))
            elif number == RUN:
                self._described(raw(value))
            elif number == EXIT:
                code = next((signed(inner) for field, _, inner in fields(raw(value)) if field == 1), 0)
                self.source.state = "SUCCEEDED" if code == 0 else "FAILED"

    def finished(self, path: Path) -> SourceRun:
        for key, value in flat({name: one for name, one in self._summary.items() if not name.startswith("_")}):
            if isinstance(value, str) and len(self.source.tags) < 40 and not _is_number(value):
                self.source.tags[f"summary/{key}"[:100]] = value[:200]
        folder = path.parent / "files"
        if folder.is_dir():
            self.source.files = [
                FileOf(one.relative_to(folder).as_posix(), one)
                for one in sorted(folder.rglob("*"))
                if one.is_file() and one.name not in SKIPPED_FILES
            ]
        return self.source

    def _history(self, message: bytes) -> None:
        row = _items(message, 1)
        step = None
        for number, _, value in fields(message):
            if number == 2:
                step = next((signed(inner) for field, _, inner in fields(raw(value)) if field == 1), 0)
        if step is None:
            step = int(row.get("_step", self._steps)) if _is_number(row.get("_step", 0)) else self._steps
        self._steps = step + 1
        time = float(row["_timestamp"]) if _is_number(row.get("_timestamp")) else self._began or 0.0
        for key, value in flat({name: one for name, one in row.items() if not name.startswith("_")}):
            if _is_number(value) and not isinstance(value, bool):
                self.source.add(key, step, float(value), time)

    def _config(self, message: bytes) -> None:
        for key, value in _items(message, 1).items():
            if not key.startswith("_"):
                self.source.config[key] = value

    def _stats(self, message: bytes) -> None:
        time = _timestamp(message, 2)
        if time is None:
            return
        self._began = time if self._began is None else self._began
        for key, value in _items(message, 3).items():
            if _is_number(value):
                self.source.add(f"system/{key.removeprefix('system.')}", int(time - self._began), float(value), time)

    def _output(self, message: bytes) -> None:
        time = _timestamp(message, 2) or self._began or 0.0
        self._line += "".join(text(value) for number, _, value in fields(message) if number == 3)
        *lines, self._line = self._line.split("\n")
        for line in lines:
            shown = line.rstrip("\r").rpartition("\r")[2]
            if shown.strip():
                self.source.logs.append((time, shown))

    def _described(self, message: bytes) -> None:
        tags = []
        for number, _, value in fields(message):
            if number == 1:
                self.source.id = text(value)
            elif number == 4:
                self._config(raw(value))
            elif number in (3, 6, 7):
                name = {3: "wandb.project", 6: "group", 7: "wandb.job_type"}[number]
                if text(value):
                    self.source.tags[name] = text(value)
            elif number == 8 and text(value):
                self.source.name = text(value)
            elif number == 9:
                self.source.notes = text(value)
            elif number == 10:
                tags.append(text(value))
            elif number == 17:
                self._began = _seconds(raw(value))
        self.source.tags.update({tag: "" for tag in tags if tag})


def _items(message: bytes, repeated: int) -> dict[str, Any]:
    """Items {1: key, 2: nested key..., 16: JSON} as a dictionary; nested keys are joined with slashes."""
    found: dict[str, Any] = {}
    for number, _, value in fields(message):
        if number != repeated:
            continue
        key, nested, body = "", [], "null"
        for field, _, inner in fields(raw(value)):
            if field == 1:
                key = text(inner)
            elif field == 2:
                nested.append(text(inner))
            elif field == 16:
                body = text(inner)
        try:
            found["/".join(nested) or key] = json.loads(body)
        except ValueError:
            raise BadSource(f"{key or nested}: its value is not JSON: {body[:60]!r}.") from None
    return found


def _timestamp(message: bytes, at: int) -> Optional[float]:
    return next((_seconds(raw(value)) for number, _, value in fields(message) if number == at), None)


def _seconds(message: bytes) -> float:
    parts = {number: signed(value) for number, _, value in fields(message)}
    return parts.get(1, 0) + parts.get(2, 0) / 1e9


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (value in ("NaN", "Infinity", "-Infinity") and isinstance(value, str))
