"""What a recipe says: typed events out, a context in. No I/O here; `models_core.runner` does that.

A recipe yields events. The runner writes each as one JSON line (`to_line`), and whoever started it reads them back
(`read_line`). JSON has no NaN or infinity: they travel as the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Metric:
    """Scalars that belong to one step. Keys look like "train/loss"; values may be NaN or infinite and are kept so."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Log:
    """A line for a person."""

    message: str
    level: LogLevel = "info"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is: `step` of `total`, and in words what it does now."""

    step: int
    total: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that the run leaves behind. `name` is a relative path with forward slashes."""

    name: str
    content: bytes
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything needed to go on after `step`, bit for bit: arrays (safetensors) and plain JSON."""

    step: int
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any] = field(default_factory=dict)


Event = Metric | Log | Progress | Artifact | Checkpoint


@dataclass(frozen=True, slots=True)
class Context:
    """What the runner hands to a recipe.

    seed: the run's seed; every random stream derives from it.
    should_stop: asked at least once a step; when true the recipe yields a Checkpoint and returns.
    resume: the checkpoint to continue from, or None for a fresh start.
    cache_dir: a folder for compiled code and prepared data that runs may share; may be empty or None.
    """

    seed: int = 0
    should_stop: Callable[[], bool] = lambda: False
    resume: Checkpoint | None = None
    cache_dir: str | None = None


def encode_float(value: float) -> float | str:
    """A float as JSON can carry it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def decode_float(value: float | str) -> float:
    """The inverse of `encode_float`; raises ValueError on any other string."""
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        raise ValueError(f"not a number: {value!r}")
    return float(value)


def to_line(kind: str, **values: Any) -> bytes:
    """One event as one line of UTF-8 JSON with its newline."""
    return json.dumps({"type": kind, **values}, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_line(line: bytes) -> dict[str, Any]:
    """The inverse of `to_line`; raises ValueError when the line is not an event."""
    record = json.loads(line)
    if isinstance(record, dict) and isinstance(record.get("type"), str):
        return record
    raise ValueError("not an event")
