"""TensorBoard: every folder with event files below the one given is a run.

Scalars, text, images, hparams; of histograms the minimum, maximum, mean and standard deviation. Steps, wall times and
values are exactly those in the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from stillroom_client.imports.source import BadSource, FileOf, SourceRun
from stillroom_client.imports.tfrecord import RecordFile
from stillroom_client.imports.wire import BYTES, Value, fields, raw, real, signed, text

EVENTS = "*tfevents*"
FLOAT, DOUBLE, INT32, STRING, INT64 = 1, 2, 3, 7, 9
# TensorProto's typed lists: data type -> (field number, struct code of packed values, None for varints).
_LISTS: dict[int, tuple[int, Optional[str]]] = {FLOAT: (5, "f"), DOUBLE: (6, "d"), INT32: (7, None), INT64: (10, None)}
_CONTENT = {FLOAT: "f", DOUBLE: "d", INT32: "i", INT64: "q"}


class EventFolder:
    """One run that is read again and again while it grows. `run` holds everything read so far. Raises BadSource."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.run = SourceRun(id=str(path.resolve()), name=name, tags={})
        self._files: dict[Path, RecordFile] = {}
        self._plugins: dict[str, str] = {}
        self._images: list[FileOf] = []

    def read(self) -> bool:
        """Take in what is new; whether there was anything."""
        found = False
        for path in sorted(self.path.glob(EVENTS)):
            file = self._files.setdefault(path, RecordFile(path))
            for record in file.records():
                found = True
                try:
                    self._event(record)
                except (BadSource, struct.error) as error:
                    raise BadSource(f"{path}: the record before byte {file.offset}: {error}") from None
        self.run.files = list(self._images)
        return found

    @property
    def unfinished(self) -> list[str]:
        """Files whose last record is not whole."""
        return [str(path) for path, file in self._files.items() if file.rest_bytes]

    def _event(self, record: bytes) -> None:
        wall_time, step, values = 0.0, 0, []
        for number, _, value in fields(record):
            if number == 1:
                wall_time = real(value)
            elif number == 2:
                step = signed(value)
            elif number == 5:
                values = [raw(inner) for field, _, inner in fields(raw(value)) if field == 1]
        for message in values:
            self._value(step, wall_time, message)

    def _value(self, step: int, wall_time: float, message: bytes) -> None:
        parts: dict[int, Value] = {number: value for number, _, value in fields(message)}
        tag = text(parts.get(1, b""))
        if 9 in parts:
            self._metadata(tag, raw(parts[9]))
        if 2 in parts:
            self.run.add(tag, step, real(parts[2]), wall_time)
        elif 4 in parts:
            self._image(tag, step, raw(parts[4]))
        elif 5 in parts:
            self._histogram(tag, step, wall_time, raw(parts[5]))
        elif 8 in parts:
            self._tensor(tag, step, wall_time, raw(parts[8]))

    def _metadata(self, tag: str, message: bytes) -> None:
        for number, _, plugin in fields(message):
            if number == 1:
                inner = {field: value for field, _, value in fields(raw(plugin))}
                name = text(inner.get(1, b""))
                self._plugins[tag] = name
                if name == "hparams" and 2 in inner:
                    self.run.config.update(_hparams(raw(inner[2])))

    def _tensor(self, tag: str, step: int, wall_time: float, message: bytes) -> None:
        plugin = self._plugins.get(tag, "")
        kind = next((value for number, _, value in fields(message) if number == 1), 0)
        if kind == STRING:
            strings = [raw(value) for number, _, value in fields(message) if number == 8]
            if plugin == "images":
                for index, content in enumerate(strings[2:]):  # width and height come first
                    self._keep_image(f"{tag}/{index}" if len(strings) > 3 else tag, step, content)
            else:
                name = tag.removesuffix("/text_summary")
                for one in strings:
                    self.run.logs += [(wall_time, f"{name} [{step}]: {line}") for line in text(one).splitlines()]
            return
        if isinstance(kind, bytes) or kind not in _CONTENT:
            return
        numbers = _numbers(kind, message)
        if plugin == "histograms":
            self._buckets(tag, step, wall_time, numbers)
        elif len(numbers) == 1:
            self.run.add(tag, step, numbers[0], wall_time)

    def _histogram(self, tag: str, step: int, wall_time: float, message: bytes) -> None:
        found = {number: real(value) for number, kind, value in fields(message) if number <= 5 and kind != BYTES}
        n = found.get(3, 0.0)
        self.run.add(f"{tag}/min", step, found.get(1, 0.0), wall_time)
        self.run.add(f"{tag}/max", step, found.get(2, 0.0), wall_time)
        if n:
            mean = found.get(4, 0.0) / n
            self.run.add(f"{tag}/mean", step, mean, wall_time)
            self.run.add(f"{tag}/std", step, math.sqrt(max(0.0, found.get(5, 0.0) / n - mean * mean)), wall_time)

    def _buckets(self, tag: str, step: int, wall_time: float, numbers: list[float]) -> None:
        rows = [numbers[at : at + 3] for at in range(0, len(numbers) - 2, 3)]  # left, right, count
        filled = [row for row in rows if row[2] > 0]
        if filled:
            self.run.add(f"{tag}/min", step, filled[0][0], wall_time)
            self.run.add(f"{tag}/max", step, filled[-1][1], wall_time)

    def _image(self, tag: str, step: int, message: bytes) -> None:
        for number, _, value in fields(message):
            if number == 4:
                self._keep_image(tag, step, raw(value))

    def _keep_image(self, tag: str, step: int, content: bytes) -> None:
        kind = "gif" if content[:3] == b"GIF" else "jpg" if content[:2] == b"\xff\xd8" else "png"
        name = "/".join(part for part in tag.split("/") if part not in ("", ".", "..")) or "image"
        self._images.append(FileOf(f"images/{name}/{step}.{kind}", content=content))


def event_folders(root: Path) -> list[EventFolder]:
    """Every folder below `root` (or itself) that has event files. Raises BadSource when there is none."""
    if not root.exists():
        raise BadSource(f"{root}: there is no such folder.")
    start = root.parent if root.is_file() else root
    paths = sorted({file.parent for file in start.rglob(EVENTS) if file.is_file()})
    if not paths:
        raise BadSource(f"{root}: no TensorBoard event files (*tfevents*) below it.")
    return [EventFolder(path, _name(path, start)) for path in paths]


def read_tensorboard(root: Path) -> Iterator[SourceRun]:
    """Every run below `root`, whole."""
    for folder in event_folders(root):
        folder.read()
        yield folder.run


def _name(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return root.resolve().name if relative == "." else relative


def _numbers(kind: int, message: bytes) -> list[float]:
    number, code = _LISTS[kind]
    found: list[float] = []
    for field, wire, value in fields(message):
        if field == 4 and isinstance(value, bytes) and value:
            size = struct.calcsize(_CONTENT[kind])
            if len(value) % size:
                raise BadSource("a tensor's content is not a whole number of values.")
            return [float(one) for (one,) in struct.iter_unpack("<" + _CONTENT[kind], value)]
        if field == number:
            found += _unpacked(code, wire, value)
    return found


def _unpacked(code: Optional[str], wire: int, value: Value) -> list[float]:
    if isinstance(value, int):
        return [float(signed(value))]
    if wire != BYTES:
        return [real(value)]
    if code is not None:
        return [float(one) for (one,) in struct.iter_unpack("<" + code, value)]
    varints, at = [], 0
    while at < len(value):  # packed varints look like the fields of a message without tags
        number = shift = 0
        while at < len(value):
            byte = value[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        varints.append(float(signed(number & 0xFFFFFFFFFFFFFFFF)))
    return varints


def _hparams(content: bytes) -> dict[str, Any]:
    """HParamsPluginData: field 3 is the session's start, whose field 1 maps names to values."""
    found: dict[str, Any] = {}
    for number, _, start in fields(content):
        if number != 3:
            continue
        for field, _, entry in fields(raw(start)):
            if field == 1:
                pair = {inner: value for inner, _, value in fields(raw(entry))}
                found[text(pair.get(1, b""))] = _struct_value(raw(pair.get(2, b"")))
    return found


def _struct_value(message: bytes) -> Any:
    """google.protobuf.Value: 2 number, 3 string, 4 bool."""
    for number, _, value in fields(message):
        if number == 2:
            return real(value)
        if number == 3:
            return text(value)
        if number == 4:
            return bool(value)
    return None
