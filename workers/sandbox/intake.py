"""Checks every event line of a run before it becomes a batch: the run's process is not trusted to keep the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from models_core.events import decode_float, read_line
from stillroom_client.batching import Batcher
from stillroom_client.points import LogLine
from workers.sandbox.console import RateLimit, clean

MAX_LINE_BYTES = 8 * 1024 * 1024
MAX_KEYS = 10_000
MAX_KEY_CHARS = 256
MAX_NOTE_CHARS = 500
STEP_LIMIT = 2**63
# The platform takes no times beyond the year 5138.
TIME_LIMIT_S = 1e11
LEVELS = frozenset({"debug", "info", "warning", "error"})


class Listener(Protocol):
    """What is told about events that are more than numbers and text. Must not block."""

    def on_artifact(self, event: Mapping[str, Any]) -> None: ...

    def on_checkpoint(self, event: Mapping[str, Any]) -> None: ...

    def on_end(self, event: Mapping[str, Any]) -> None: ...


class Intake:
    """Fills a batcher from event lines. A line that cannot be used is reported once a kind, and never stops the run."""

    def __init__(self, batcher: Batcher, listener: Listener, *, now: float) -> None:
        self._batcher = batcher
        self._listener = listener
        self._limit = RateLimit(now)
        self._pending = b""
        self._discarding = False
        self._keys: set[str] = set()
        self._reported: set[str] = set()

    def feed(self, chunk: bytes, now: float, time: float) -> None:
        """Take bytes from the pipe. now: monotonic seconds. time: seconds since 1970."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole, self._pending = self._pending + line, b""
            if self._discarding:
                self._discarding = False
            elif whole.strip():
                self._line(whole, now, time)
        self._pending += rest
        if len(self._pending) > MAX_LINE_BYTES:
            self._pending, self._discarding = b"", True
            self.say(now, time, "warning", f"An event longer than {MAX_LINE_BYTES} bytes was left out.")

    def take_refused(self) -> int:
        """Log events left out since the last call because there were too many a second."""
        return self._limit.take_refused()

    def say(self, now: float, time: float, level: str, message: str) -> None:
        """A line of the node's own."""
        self._batcher.add_log(LogLine(time, level, "log", clean(message)), now)

    def _line(self, line: bytes, now: float, time: float) -> None:
        try:
            event = read_line(line)
            self._take(event, now, time)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._once("bad", now, time, f"An event cannot be used ({type(error).__name__}: {error}).")

    def _take(self, event: dict[str, Any], now: float, time: float) -> None:
        kind = event["type"]
        if kind == "metric":
            self._metric(event, now, time)
        elif kind == "log":
            if self._limit.admit(now):
                level = event["level"] if event.get("level") in LEVELS else "info"
                line = LogLine(_moment(event, time), level, "log", clean(str(event["message"])))
                self._batcher.add_log(line, now)
        elif kind == "progress":
            note = clean(str(event.get("note", "")))[:MAX_NOTE_CHARS]
            step, total = max(0, _step(event["step"])), max(0, _step(event["total"]))
            self._batcher.set_progress({"step": step, "total": total, "note": note}, now)
        elif kind == "artifact":
            self._listener.on_artifact(event)
        elif kind == "checkpoint":
            self._listener.on_checkpoint(event)
        elif kind == "end":
            self._listener.on_end(event)

    def _metric(self, event: dict[str, Any], now: float, time: float) -> None:
        step = _step(event["step"])
        values = {}
        for key, value in event["values"].items():
            if self._admits(key, now, time):
                values[key] = decode_float(value)
        if values:
            self._batcher.add_points(step, _moment(event, time), values, now)

    def _admits(self, key: str, now: float, time: float) -> bool:
        if key in self._keys:
            return True
        if not 1 <= len(key) <= MAX_KEY_CHARS or not key.isprintable():
            self._once("key", now, time, f"The key {key[:80]!r} is not 1 to {MAX_KEY_CHARS} printable characters.")
            return False
        if len(self._keys) >= MAX_KEYS:
            self._once("keys", now, time, f"More than {MAX_KEYS} keys; {key[:80]!r} and further ones are left out.")
            return False
        self._keys.add(key)
        return True

    def _once(self, kind: str, now: float, time: float, message: str) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            self.say(now, time, "warning", message)


def _step(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -STEP_LIMIT <= value < STEP_LIMIT:
        raise ValueError(f"a step is a 64-bit integer, not {str(value)[:40]}")
    return value


def _moment(event: Mapping[str, Any], time: float) -> float:
    given = event.get("time", time)
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < TIME_LIMIT_S:
        return time
    return float(given)
