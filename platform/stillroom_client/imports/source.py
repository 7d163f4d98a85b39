"""What every reader gives: runs with a stable id, and their points as columns in the order of logging."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from stillroom_client.errors import StillroomError
from stillroom_client.values import LEAST_STEP, MAX_KEY, MOST_STEP


class BadSource(StillroomError):
    """A file or server that cannot be imported; the message names it, the place, and what was expected."""


@dataclass
class Column:
    """Points of one key: steps int64, values float64, times seconds since 1970. Order of logging, oldest first."""

    step: array[int] = field(default_factory=lambda: array("q"))
    value: array[float] = field(default_factory=lambda: array("d"))
    time: array[float] = field(default_factory=lambda: array("d"))

    def add(self, step: int, value: float, time: float) -> None:
        self.step.append(step)
        self.value.append(value)
        self.time.append(time)

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class FileOf:
    """An artifact: its name in the run, and a file on disk or bytes."""

    path: str
    file: Optional[Path] = None
    content: bytes = b""


@dataclass
class SourceRun:
    """One run elsewhere.

    id: unique and stable in its source. state: SUCCEEDED, FAILED or CANCELLED. logs: (seconds since 1970, text).
    """

    id: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    notes: str = ""
    state: str = "SUCCEEDED"
    columns: dict[str, Column] = field(default_factory=dict)
    logs: list[tuple[float, str]] = field(default_factory=list)
    files: Iterable[FileOf] = ()

    def add(self, key: str, step: int, value: float, time: float) -> None:
        """One point."""
        column = self.columns.get(key)
        if column is None:
            column = self.columns[usable_key(key)] = self.columns.get(usable_key(key)) or Column()
        column.add(step, value, time)


def usable_key(key: str) -> str:
    """The key as the platform takes it: printable, at most 256 characters."""
    text = "".join(letter if letter.isprintable() else "_" for letter in key).strip() or "_"
    return text[:MAX_KEY]


def whole_step(value: Any, where: str) -> int:
    """A step as int64. Raises BadSource naming the place."""
    try:
        number = int(value)
        if number != float(value) or not LEAST_STEP <= number <= MOST_STEP:
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        raise BadSource(f"{where}: {str(value)[:40]!r} is not a whole step of 64 bits.") from None


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dictionaries as keys with slashes."""
    for key, value in config.items():
        path = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from flat(value, path)
        else:
            yield path, value
