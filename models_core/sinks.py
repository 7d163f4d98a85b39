"""Where a run's events go: one JSON line each on a file descriptor, or text for a person."""

from __future__ import annotations

import os
import queue
import threading
from typing import Any, Protocol, TextIO

from models_core.events import to_line

# Lines that may wait for the reader before the recipe has to; at 200 bytes a line, under 2 MB.
QUEUE_LINES = 8192


class Sink(Protocol):
    """Takes events in order."""

    @property
    def broken(self) -> bool:
        """Whether nobody reads any more."""

    def emit(self, kind: str, **values: Any) -> None:
        """Hand over one event."""

    def close(self) -> None:
        """Return when everything has been written."""


class LineSink:
    """JSON lines on a file descriptor, written by a thread of its own so that training does not wait for the reader.

    Events are never dropped: only when `QUEUE_LINES` wait does `emit` block. A reader that has gone makes the sink
    `broken`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes | None] = queue.Queue(QUEUE_LINES)
        self._broken = threading.Event()
        self._writer = threading.Thread(target=self._write, name="events", daemon=True)
        self._writer.start()

    @property
    def broken(self) -> bool:
        return self._broken.is_set()

    def emit(self, kind: str, **values: Any) -> None:
        self._lines.put(to_line(kind, **values))

    def close(self) -> None:
        self._lines.put(None)
        self._writer.join()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            rest = memoryview(line)
            while rest and not self._broken.is_set():
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except OSError:
                    self._broken.set()


class TextSink:
    """One readable line an event."""

    broken = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, kind: str, **values: Any) -> None:
        self._stream.write(_text(kind, values) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


def _text(kind: str, values: dict[str, Any]) -> str:
    match kind:
        case "metric":
            shown = "  ".join(f"{key} {_number(value)}" for key, value in values["values"].items())
            return f"step {values['step']:>6}  {shown}"
        case "log":
            return f"[{values['level']}] {values['message']}"
        case "progress":
            return f"{values['step']}/{values['total']}  {values['note']}".rstrip()
        case "artifact":
            return f"artifact {values['path']} ({values['size_bytes']} bytes)"
        case "checkpoint":
            return f"checkpoint {values['path']}"
        case "end" if values["error"]:
            return f"{values['status']}: {values['error']['message']}"
        case _:
            return str(values.get("status", kind))


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
