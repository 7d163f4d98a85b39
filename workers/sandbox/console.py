"""Turns the bytes of a run's stdout and stderr into clean, bounded log lines."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MAX_MESSAGE_CHARS = 8_000
MAX_PENDING_BYTES = 64 * 1024
LINES_PER_S = 200.0
BURST_LINES = 2_000.0

# Escape sequences as ECMA-48 has them: CSI (colours, cursor), OSC (titles, links), and two-byte ones.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def clean(text: str) -> str:
    """Without escape sequences, control characters (except tab and newline) and lone surrogates; cut to a bound."""
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    if not text.isprintable():
        text = "".join(c for c in text if c in "\t\n" or unicodedata.category(c) not in ("Cc", "Cs"))
    if len(text) > MAX_MESSAGE_CHARS:
        text = f"{text[:MAX_MESSAGE_CHARS]} ... ({len(text) - MAX_MESSAGE_CHARS} more characters)"
    return text


class RateLimit:
    """A token bucket over lines. What it refuses is counted until `take_refused`."""

    def __init__(self, now: float, *, lines_per_s: float = LINES_PER_S, burst_lines: float = BURST_LINES) -> None:
        self._lines_per_s = lines_per_s
        self._burst = burst_lines
        self._tokens = burst_lines
        self._at = now
        self._refused = 0

    def admit(self, now: float) -> bool:
        """May one more line pass? now: monotonic seconds."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._lines_per_s)
        self._at = now
        if self._tokens < 1.0:
            self._refused += 1
            return False
        self._tokens -= 1.0
        return True

    def is_dry(self, now: float) -> bool:
        """Would a line be refused now?"""
        return self._tokens + (now - self._at) * self._lines_per_s < 1.0

    def refuse(self, lines: int) -> None:
        """Count lines that were not even looked at."""
        self._refused += lines

    def take_refused(self) -> int:
        """How many lines were refused since the last call."""
        refused, self._refused = self._refused, 0
        return refused


class Console:
    """One of the two streams. A carriage return overwrites the line, so that a progress bar stays one line."""

    def __init__(self, now: float) -> None:
        self._pending = b""
        self.limit = RateLimit(now)

    def feed(self, chunk: bytes, now: float) -> Iterator[str]:
        """The lines that this chunk completes. now: monotonic seconds."""
        if self.limit.is_dry(now):
            head, newline, tail = chunk.rpartition(b"\n")
            self.limit.refuse(head.count(b"\n") + len(newline))
            self._pending = tail[:MAX_PENDING_BYTES] if newline else self._pending
            return
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            if self.limit.admit(now):
                yield from _readable(line)
        if len(self._pending) > MAX_PENDING_BYTES:
            line, self._pending = self._pending, b""
            if self.limit.admit(now):
                yield from _readable(line)

    def rest(self) -> Iterator[str]:
        """What stands after the last newline, at the end of the stream."""
        line, self._pending = self._pending, b""
        yield from _readable(line)


def _readable(line: bytes) -> Iterator[str]:
    visible = line.rstrip(b"\r").rpartition(b"\r")[2]
    text = clean(visible.decode("utf-8", "replace")).rstrip()
    if text:
        yield text
