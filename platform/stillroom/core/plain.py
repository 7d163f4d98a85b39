"""What may enter as JSON: only what can be stored, sorted and sent back. Everything else is refused at its place."""

from __future__ import annotations

import json
import math
from typing import Any

from stillroom.core.errors import Invalid

# orjson writes 254 levels at most, and a stored value stands inside an answer.
MAX_DEPTH = 64
INT64 = 2**63
NUL_TEXT = "Holds a NUL character."
HALF_TEXT = "Holds half of a surrogate pair."


def read_json(body: bytes) -> Any:
    """Decode a body; Invalid when it is no JSON, or naming the field that holds what nobody could read back."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise Invalid(f"The body is not JSON: {reason}.", code="invalid") from None
    check_plain(payload)
    return payload


def check_plain(payload: Any, *, at: str = "") -> None:
    """Raise Invalid for text with NUL or half a surrogate pair, numbers past 64 bits or not finite, and values that
    lie deeper than 64 levels. `at` stands before the path that the error names.
    """
    todo: list[tuple[Any, str, int]] = [(payload, at, 0)]
    while todo:
        value, path, depth = todo.pop()
        problem = _problem(value, depth)
        if problem is not None:
            raise Invalid(f"The request is not valid at {path or 'its top'}: {problem}", fields={path: problem})
        if isinstance(value, dict):
            for key, inner in value.items():
                problem = _text_problem(key)
                if problem is not None:
                    shown = key.encode("utf-8", "replace").decode().replace("\x00", "?")
                    raise Invalid(f"A name is not valid: {problem}", fields={_join(path, shown): problem})
                todo.append((inner, _join(path, key), depth + 1))
        elif isinstance(value, list):
            todo.extend((inner, _join(path, str(index)), depth + 1) for index, inner in enumerate(value))


def _join(path: str, name: str) -> str:
    joined = f"{path}.{name}" if path else name
    return joined if len(joined) <= 500 else f"{joined[:500]}..."


def _problem(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return _text_problem(value)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return None if -INT64 <= value < INT64 else "A whole number beyond 64 bits."
    if isinstance(value, float):
        return None if math.isfinite(value) else 'JSON has no such number; where one may stand, write "NaN".'
    return f"Nested deeper than {MAX_DEPTH} levels." if depth > MAX_DEPTH else None


def _text_problem(text: str) -> str | None:
    if "\x00" in text:
        return NUL_TEXT
    if text.isascii():
        return None
    return HALF_TEXT if any("\ud800" <= char <= "\udfff" for char in text) else None
