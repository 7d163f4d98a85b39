"""Log lines by number: contiguous over the whole run, forwards or backwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import zstandard
from django.db.models import F

from stillroom.telemetry.models import LogChunk

SCAN_CHUNKS = 2000


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines in order of their number, and the cursor for the next page in the direction asked for."""

    lines: list[dict[str, Any]]
    next_cursor: int | None


def log_page(run_id: str, *, after: int | None, before: int | None, limit: int, q: str = "") -> LogPage:
    """Up to `limit` lines with number > `after`, or, given `before` (or neither), the last ones below it. One query."""
    rows = LogChunk.objects.filter(run_id=run_id)
    if after is not None:
        chunks = rows.annotate(past=F("first_line") + F("n")).filter(past__gt=after + 1).order_by("first_line")
        lines = (line for line in _lines(chunks) if line["n"] > after)
    else:
        if before is not None:
            rows = rows.filter(first_line__lt=before)
        lines = (
            line
            for line in _lines(rows.order_by("-first_line"), backwards=True)
            if before is None or line["n"] < before
        )
    needle = q.lower()
    page: list[dict[str, Any]] = []
    for line in lines:
        if needle and needle not in line["message"].lower():
            continue
        if len(page) == limit:
            return LogPage(page if after is not None else page[::-1], page[-1]["n"])
        page.append(line)
    return LogPage(page if after is not None else page[::-1], None)


def _lines(chunks: Any, *, backwards: bool = False) -> Iterator[dict[str, Any]]:
    for chunk in chunks[:SCAN_CHUNKS].iterator(chunk_size=50):
        lines = read_chunk(chunk)
        yield from reversed(lines) if backwards else lines


def read_chunk(chunk: LogChunk) -> list[dict[str, Any]]:
    """The lines of one chunk with number and epoch."""
    stored = orjson.loads(zstandard.ZstdDecompressor().decompress(bytes(chunk.lines)))
    return [{"n": chunk.first_line + index, "epoch": chunk.epoch, **line} for index, line in enumerate(stored)]
