"""What a terminal shows: tables, states, charts. Plain text when the output is not a terminal."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Optional

from stillroom_client.errors import StillroomError

BLANK, DOTS = 0x2800, ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
CONTROL = dict.fromkeys((*range(32), *range(127, 160)))


class UsageError(StillroomError):
    """What was typed cannot be done; the message says which part."""


def show_json(data: Any) -> None:
    """For programs: exactly what the platform answered."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def show_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns with two spaces between them; a cell holds no line break and no control character."""
    cells = [[clean(cell) for cell in row] for row in rows]
    if not cells:
        print("Nothing.", file=sys.stderr)
        return
    lines = [list(head), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(widths[column]) for column, cell in enumerate(line)).rstrip())


def clean(cell: Any) -> str:
    """Text that changes nothing but its own place on the screen."""
    text = "-" if cell is None or cell == "" else str(cell)
    return " ".join(text.split()).translate(CONTROL)


def number(value: Any) -> str:
    """Six significant digits; what is not finite by name."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.6g}"


def size(size_bytes: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def clock(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%H:%M:%S")


def moment(text: Optional[str]) -> str:
    """A time of the platform without fractions of a second."""
    return text.partition(".")[0].rstrip("Z").replace("T", " ") + " UTC" if text else "-"


def progress(run: Mapping[str, Any]) -> str:
    now = run.get("progress")
    return f"{now['step']}/{now['total']}" if now else "-"


def status(run: Mapping[str, Any]) -> str:
    """One line: state, progress, why it waits or ended."""
    parts = [str(run["state"]).lower(), progress(run)]
    for field in ("waiting", "reason"):
        if run.get(field):
            parts.append(clean(run[field]["message"]))
    return "  ".join(part for part in parts if part and part != "-")


def width() -> int:
    return max(40, min(shutil.get_terminal_size((100, 24)).columns, 160))


def chart(x: Sequence[float], y: Sequence[float], *, columns: int, rows: int) -> list[str]:
    """A line chart in Braille dots with the range of both axes; values that are not finite leave gaps."""
    points = [(a, b) for a, b in zip(x, y) if math.isfinite(a) and math.isfinite(b)]
    if not points:
        return ["(no finite value yet)"]
    lo, hi = min(b for _, b in points), max(b for _, b in points)
    left, right = points[0][0], points[-1][0]
    labels = [number(hi), number(lo)]
    margin = max(len(label) for label in labels) + 1
    grid = _grid(points, (left, right, lo, hi), max(4, columns - margin - 1), rows)
    lines = []
    for row, cells in enumerate(grid):
        label = labels[0] if row == 0 else labels[1] if row == rows - 1 else ""
        lines.append(label.rjust(margin - 1) + " ┤"[1:] + "".join(chr(BLANK + cell) for cell in cells))
    ends = f"{number(left)}".ljust(max(1, columns - margin - 1 - len(number(right)))) + number(right)
    return [*lines, " " * margin + ends]


def _grid(
    points: Sequence[tuple[float, float]], box: tuple[float, float, float, float], columns: int, rows: int
) -> list[list[int]]:
    left, right, lo, hi = box
    grid = [[0] * columns for _ in range(rows)]
    wide, high = columns * 2 - 1, rows * 4 - 1
    before: Optional[tuple[int, int]] = None
    for x, y in points:
        at = round((x - left) / (right - left) * wide) if right > left else 0
        up = round((y - lo) / (hi - lo) * high) if hi > lo else high // 2
        place = (min(max(at, 0), wide), min(max(up, 0), high))
        for column, dot in _line(before, place):
            row = high - dot
            grid[row // 4][column // 2] |= DOTS[column % 2][row % 4]
        before = place
    return grid


def _line(before: Optional[tuple[int, int]], place: tuple[int, int]) -> list[tuple[int, int]]:
    if before is None:
        return [place]
    steps = max(abs(place[0] - before[0]), abs(place[1] - before[1]), 1)
    return [
        (
            before[0] + round((place[0] - before[0]) * n / steps),
            before[1] + round((place[1] - before[1]) * n / steps),
        )
        for n in range(1, steps + 1)
    ]
