"""Copies of what a script prints, line by line, while it goes where it went before."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

MAX_LINE = 8000


class Tee:
    """Stands in for a text stream: writes through, and gives every whole line to `take`.

    A line that is overwritten with a carriage return (a progress bar) is given once, as it was last.
    """

    def __init__(self, stream: Any, take: Callable[[str], None]) -> None:
        self._stream = stream
        self._take = take
        self._rest = ""
        self._lock = threading.RLock()
        self._inside = False

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        with self._lock:
            if self._inside:
                return int(written or 0)  # whoever takes the lines has printed something himself
            self._inside = True
            try:
                *lines, self._rest = (self._rest + text).split("\n")
                for line in lines:
                    self._give(line)
                self._rest = self._rest.rpartition("\r")[2] if len(self._rest) > MAX_LINE else self._rest
            finally:
                self._inside = False
        return int(written or 0)

    def _give(self, line: str) -> None:
        shown = line.rstrip("\r").rpartition("\r")[2]
        if shown.strip():
            self._take(shown[:MAX_LINE])

    def drain(self) -> None:
        """Give what has no line end yet."""
        with self._lock:
            rest, self._rest = self._rest, ""
            self._give(rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Console:
    """Tees standard output and standard error into `take(stream name, line)` until it is closed."""

    def __init__(self, take: Callable[[str, str], None]) -> None:
        self._tees = {name: Tee(getattr(sys, name), _to(take, name)) for name in ("stdout", "stderr")}
        for name, tee in self._tees.items():
            setattr(sys, name, tee)

    def close(self) -> None:
        """Put the streams back, unless somebody has put others in their place."""
        for name, tee in self._tees.items():
            tee.drain()
            if getattr(sys, name) is tee:
                setattr(sys, name, tee._stream)


def _to(take: Callable[[str, str], None], name: str) -> Callable[[str], None]:
    return lambda line: take(name, line)
