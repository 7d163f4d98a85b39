"""CSV and JSON lines: one row a step, one column a metric; or one row a point with a key column."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

from stillroom_client.imports.source import BadSource, SourceRun, flat, whole_step

STEP_NAMES = ("step", "_step", "global_step", "iteration", "epoch")
TIME_NAMES = ("time", "timestamp", "_timestamp", "wall_time")
MOST_FIELD_BYTES = 1 << 20


@dataclass(frozen=True)
class Mapped:
    """Which column means what. None: found by its usual name, or absent. key and value: rows of single points.

    run: a column that tells runs apart. rename: column -> metric key; an empty key leaves the column out.
    """

    step: Optional[str] = None
    time: Optional[str] = None
    run: Optional[str] = None
    key: Optional[str] = None
    value: Optional[str] = None
    rename: Mapping[str, str] = field(default_factory=dict)


def read_table(path: Path, mapped: Mapped) -> Iterator[SourceRun]:
    """The runs of a file; one unless there is a run column. Raises BadSource naming line and column."""
    began = path.stat().st_mtime if path.is_file() else 0.0
    runs: dict[str, SourceRun] = {}
    rows: dict[str, int] = {}
    for where, row in _rows(path):
        names = _columns(row, mapped, where)
        label = str(row[names["run"]]) if "run" in names else ""
        run = runs.get(label)
        if run is None:
            identity = f"{path.resolve()}#{label}" if label else str(path.resolve())
            run = runs[label] = SourceRun(id=identity, name=label or path.stem)
        step = whole_step(row[names["step"]], f"{where}: {names['step']}") if "step" in names else rows.get(label, 0)
        rows[label] = rows.get(label, 0) + 1
        time = _time(row[names["time"]], f"{where}: {names['time']}") if "time" in names else began
        if mapped.key:
            value = _number(row[names["value"]], f"{where}: {names['value']}")
            if value is not None:
                run.add(str(row[names["key"]]), step, value, time)
            continue
        for column, cell in row.items():
            key = mapped.rename.get(column, column)
            if column in names.values() or not key:
                continue
            value = _number(cell, f"{where}: {column}", strict=column in mapped.rename)
            if value is not None:
                run.add(key, step, value, time)
    if not runs:
        raise BadSource(f"{path}: no rows.")
    yield from runs.values()


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() in (".jsonl", ".ndjson"):
                yield from _json_rows(path, file)
            else:
                yield from _csv_rows(path, file)
    except OSError as error:
        raise BadSource(f"{path}: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise BadSource(f"{path}: not UTF-8: {error.reason} at byte {error.start}.") from None


def _csv_rows(path: Path, file: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(MOST_FIELD_BYTES)
    try:
        first = file.readline()
        file.seek(0)
        separator = max(",;\t", key=first.count)
        reader = csv.DictReader(file, delimiter=separator, strict=True)
        for row in reader:
            where = f"{path}: line {reader.line_num}"
            if None in row or None in row.values():
                raise BadSource(f"{where}: expected {len(reader.fieldnames or [])} fields.")
            yield where, dict(row)
    except csv.Error as error:
        raise BadSource(f"{path}: not CSV: {error}.") from None


def _json_rows(path: Path, file: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadSource(f"{where}: not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise BadSource(f"{where}: expected an object.")
        yield where, dict(flat(row))


def _columns(row: Mapping[str, Any], mapped: Mapped, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for role, chosen, usual in (
        ("step", mapped.step, STEP_NAMES),
        ("time", mapped.time, TIME_NAMES),
        ("run", mapped.run, ()),
        ("key", mapped.key, ()),
        ("value", mapped.value or ("value" if mapped.key else None), ()),
    ):
        if chosen is not None:
            if chosen not in row:
                raise BadSource(f"{where}: there is no column {chosen}; there are: {', '.join(map(str, row))[:300]}.")
            found[role] = chosen
        else:
            usually = next((name for name in usual if name in row), None)
            if usually:
                found[role] = usually
    return found


def _number(cell: Any, where: str, *, strict: bool = True) -> Optional[float]:
    """A metric's value; empty is absent, and text is absent too unless the column was asked for."""
    if cell is None or cell == "":
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        if strict:
            raise BadSource(f"{where}: {str(cell)[:40]!r} is not a number.") from None
        return None


def _time(cell: Any, where: str) -> float:
    """Seconds since 1970 from a number (milliseconds when it is too large for seconds) or ISO 8601."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        try:
            return datetime.fromisoformat(str(cell).replace("Z", "+00:00")).timestamp()
        except ValueError:
            raise BadSource(f"{where}: {str(cell)[:40]!r} is not a time.") from None
    if not math.isfinite(number):
        raise BadSource(f"{where}: {cell} is not a time.")
    return number / 1000.0 if abs(number) > 1e11 else number
