"""What a script may hand over: numbers of any array library, nested dictionaries, configurations."""

from __future__ import annotations

import argparse
import dataclasses
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from stillroom_client.errors import StillroomError

MAX_KEY = 256
MAX_DEPTH = 20
LEAST_STEP, MOST_STEP = -(2**63), 2**63 - 1


class BadValue(StillroomError, TypeError):
    """A value that cannot be logged; the message names its key."""


def scalars(data: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as flat floats: nested dictionaries become keys with slashes, None is left out, NaN and infinities stay.

    Takes numbers, bools, and what has one element: numpy, jax and torch scalars (a device is waited for). Raises
    BadValue.
    """
    if not isinstance(data, Mapping):
        raise BadValue(f"Expected a dictionary of numbers, not {type(data).__name__}.")
    found: dict[str, float] = {}
    for key, value in _leaves(data, "", 0):
        if value is None:
            continue
        if key in found:
            raise BadValue(f"{key}: given twice, once nested and once with a slash.")
        found[key] = scalar(key, value)
    return found


def scalar(key: str, value: Any) -> float:
    """One number as float. Raises BadValue."""
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            raise BadValue(f"{key}: {str(value)[:40]}... is too large for a float.") from None
    if isinstance(value, (str, bytes)):
        raise BadValue(f"{key}: expected a number, not text. Use log_text for text.")
    try:
        detached = value.detach() if hasattr(value, "detach") else value
        return float(detached.item() if hasattr(detached, "item") else detached)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        shape = getattr(value, "shape", None)
        described = type(value).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")
        raise BadValue(f"{key}: expected one number, not {described} ({error}).") from None


def step_number(step: Any) -> int:
    """A step as int64; whole floats and array scalars are taken. Raises BadValue."""
    try:
        number = operator.index(step)
    except TypeError:
        value = scalar("step", step)
        if not math.isfinite(value) or value != int(value):
            raise BadValue(f"step: expected a whole number, not {step!r}.") from None
        number = int(value)
    if not LEAST_STEP <= number <= MOST_STEP:
        raise BadValue(f"step: {number} does not fit into 64 bits.")
    return number


def metric_key(key: Any) -> str:
    """A key that the platform takes: 1 to 256 printable characters. Raises BadValue."""
    text = key if isinstance(key, str) else str(key)
    if not 1 <= len(text) <= MAX_KEY or not text.isprintable():
        raise BadValue(f"{text[:60]!r}: a key has 1 to {MAX_KEY} printable characters.")
    return text


def plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON: from a dictionary, a dataclass, an argparse namespace or a pydantic model.

    What JSON does not know becomes text, and so do whole numbers beyond 64 bits; numbers that are not finite become
    "NaN", "Infinity", "-Infinity".
    """
    if config is None:
        return {}
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    elif isinstance(config, argparse.Namespace):
        config = vars(config)
    elif hasattr(config, "model_dump"):
        config = config.model_dump()
    if not isinstance(config, Mapping):
        raise BadValue(f"config: expected a dictionary, not {type(config).__name__}.")
    return {_text(str(key)): _json(value, 0) for key, value in config.items()}


def _leaves(data: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise BadValue(f"{prefix[:60]}...: nested more than {MAX_DEPTH} deep.")
    for key, value in data.items():
        path = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _leaves(value, path, depth + 1)
        else:
            yield metric_key(path), value


def _json(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if LEAST_STEP <= value <= MOST_STEP else str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if depth > MAX_DEPTH:
        return str(value)
    if isinstance(value, Mapping):
        return {_text(str(key)): _json(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) or (isinstance(value, Sequence) and not _is_text(value)):
        return [_json(inner, depth + 1) for inner in value]
    if not isinstance(value, PurePath) and hasattr(value, "tolist"):
        return _json(value.tolist(), depth + 1)
    return str(value)


def _text(value: str) -> str:
    """Text that can be stored: no NUL, and a question mark for half of a surrogate pair."""
    return value.replace("\x00", "").encode("utf-8", "replace").decode()


def _is_text(value: object) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))
