"""Collects what a run says into columns until a batch is due. Safe to fill from several threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stillroom_client.points import LogLine, Series, encode_batch

MAX_POINTS = 5_000
MAX_BYTES = 1024 * 1024
# The time in which the events of one step usually arrive together.
LINGER_S = 0.015
# One point as msgpack: step, value and time with their tags.
POINT_BYTES = 27
LOG_LINE_BYTES = 60


@dataclass
class Content:
    """What goes into one batch, still without its number."""

    series: list[Series] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    progress: Mapping[str, Any] | None = None

    @property
    def points(self) -> int:
        return sum(len(one.step) for one in self.series)

    @property
    def is_empty(self) -> bool:
        return not (self.series or self.logs or self.progress)

    def encode(self, epoch: int, seq: int) -> bytes:
        """The batch as it travels."""
        return encode_batch(epoch, seq, self.series, self.logs, self.progress)

    def without_logs(self) -> Content:
        return replace(self, logs=[])

    def coalesced(self) -> Content:
        """At most four points a series: first, lowest, highest and last. Logs and progress stay."""
        return replace(self, series=[_thin(one) for one in self.series])


class Batcher:
    """The open batch.

    clock: monotonic seconds. `is_due` is on the leading edge: after a quiet time the next event goes out at once.
    """

    def __init__(self, opened_at: float) -> None:
        self._lock = threading.Lock()
        self._flushed_at = opened_at
        self._first_at: float | None = None
        self._columns: dict[str, tuple[list[int], list[float], list[float]]] = {}
        self._logs: list[LogLine] = []
        self._progress: Mapping[str, Any] | None = None
        self._points = 0
        self._bytes = 0

    @property
    def points(self) -> int:
        """Points in the open batch."""
        return self._points

    def add_points(self, step: int, time: float, values: Mapping[str, float], now: float) -> None:
        """Values of one step. time: seconds since 1970."""
        with self._lock:
            for key, value in values.items():
                columns = self._columns.get(key)
                if columns is None:
                    columns = self._columns[key] = ([], [], [])
                    self._bytes += len(key) + 32
                columns[0].append(step)
                columns[1].append(value)
                columns[2].append(time)
            self._points += len(values)
            self._bytes += POINT_BYTES * len(values)
            self._touch(now)

    def add_log(self, line: LogLine, now: float) -> None:
        with self._lock:
            self._logs.append(line)
            self._bytes += LOG_LINE_BYTES + len(line.message.encode())
            self._touch(now)

    def set_progress(self, progress: Mapping[str, Any], now: float) -> None:
        """Only the newest counts."""
        with self._lock:
            self._progress = progress
            self._touch(now)

    def due_at(self, flush_s: float) -> float | None:
        """When the open batch should go, monotonic seconds; 0 when it is full, None when it is empty."""
        with self._lock:
            if self._first_at is None:
                return None
            if self._points >= MAX_POINTS or self._bytes >= MAX_BYTES:
                return 0.0
            return max(self._first_at + LINGER_S, self._flushed_at + flush_s)

    def take(self, now: float) -> Content | None:
        """Close the open batch and begin another; None when it is empty."""
        with self._lock:
            if self._first_at is None:
                return None
            series = [Series(key, *columns) for key, columns in self._columns.items()]
            content = Content(series, self._logs, self._progress)
            self._columns, self._logs, self._progress = {}, [], None
            self._points = self._bytes = 0
            self._first_at = None
            self._flushed_at = now
            return content

    def _touch(self, now: float) -> None:
        if self._first_at is None:
            self._first_at = now


def _thin(series: Series) -> Series:
    if len(series.step) <= 4:
        return series
    finite = [n for n, value in enumerate(series.value) if value == value]
    kept = {0, len(series.step) - 1}
    if finite:
        kept.add(min(finite, key=lambda n: series.value[n]))
        kept.add(max(finite, key=lambda n: series.value[n]))
    order = sorted(kept)
    return Series(
        series.key, [series.step[n] for n in order], [series.value[n] for n in order], [series.time[n] for n in order]
    )
