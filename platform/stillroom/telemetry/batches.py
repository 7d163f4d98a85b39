"""Untrusted ingest batches become arrays: one pass, no Python object per point, errors that name the place."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import orjson

from stillroom.core.errors import Invalid, TooLarge
from stillroom.telemetry.codec import Floats, Ints, Points

KEY = re.compile(r"\A[^\x00-\x1f\x7f]{1,256}\Z")
NON_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
LEVELS = frozenset({"debug", "info", "warning", "error"})
STREAMS = frozenset({"log", "stdout", "stderr"})
MAX_LINE = 8192
MAX_STEP_TOTAL = 2**63 - 1
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Batch:
    """A parsed batch: series in key order, log lines ready to store, and the hash by which a repetition is
    recognised.
    """

    epoch: int
    seq: int
    series: dict[str, Points]
    logs: list[dict[str, Any]]
    progress: dict[str, Any] | None
    digest: bytes = field(repr=False)

    @property
    def points(self) -> int:
        return sum(len(points) for points in self.series.values())


def read_body(body: bytes, *, content_type: str, encoding: str, max_bytes: int) -> Any:
    """Decompress within the limit and decode; raises TooLarge or Invalid."""
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    if encoding == "gzip":
        try:
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(max_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise Invalid("The body is not gzip.", fields={"": str(error)}) from None
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    elif encoding not in ("", "identity"):
        raise Invalid(f"Content-Encoding {encoding} is not understood; send gzip or none.")
    try:
        if content_type == "application/msgpack":
            return msgpack.unpackb(body, raw=False, strict_map_key=True)
        return orjson.loads(body)
    except (ValueError, msgpack.UnpackException, UnicodeDecodeError, RecursionError) as error:
        kind = "MessagePack" if content_type == "application/msgpack" else "JSON"
        raise Invalid(f"The body is not {kind}.", fields={"": str(error)[:200]}) from None


def _too_large(max_bytes: int) -> TooLarge:
    message = f"A batch may have at most {max_bytes} bytes decompressed. Send smaller batches."
    return TooLarge(message, code="ingest.too_large", fields={"": message}, limit=max_bytes)


def parse_batch(payload: Any, *, max_points: int) -> Batch:
    """Check a decoded body; raises Invalid with the place, TooLarge beyond `max_points`."""
    if not isinstance(payload, dict):
        raise _bad("", "Expected an object.")
    unknown = set(payload) - {"epoch", "seq", "series", "logs", "progress"}
    if unknown:
        raise _bad(str(min(unknown, key=str)), "Unknown field.")
    epoch, seq = (_whole(payload.get(name), name, 1) for name in ("epoch", "seq"))
    entries = _list(payload.get("series", []), "series")
    found: dict[str, list[Points]] = {}
    total = 0
    for index, entry in enumerate(entries):
        at = f"series.{index}"
        key, points = _series(entry, at)
        total += len(points)
        if total > max_points:
            message = f"A batch may have at most {max_points} points. Send smaller batches."
            raise TooLarge(message, code="ingest.too_large", fields={"series": message}, limit=max_points)
        if len(points):
            found.setdefault(key, []).append(points)
    series = {key: Points.join(found[key]) for key in sorted(found)}
    logs = [_log(entry, f"logs.{index}") for index, entry in enumerate(_list(payload.get("logs", []), "logs"))]
    progress = _progress(payload.get("progress"))
    return Batch(epoch, seq, series, logs, progress, _digest(series, logs, progress))


def _digest(series: dict[str, Points], logs: list[dict[str, Any]], progress: dict[str, Any] | None) -> bytes:
    digest = hashlib.sha256(orjson.dumps([list(series), logs, progress], option=orjson.OPT_SORT_KEYS))
    for points in series.values():
        for column in (points.step, points.value, points.time):
            digest.update(column.tobytes())
    return digest.digest()


def _bad(at: str, message: str) -> Invalid:
    return Invalid(
        f"The batch is not valid at {at or 'its top'}: {message}", fields={at: message}, code="ingest.invalid"
    )


def _whole(value: Any, at: str, least: int) -> int:
    if type(value) is not int or not least <= value <= MAX_STEP_TOTAL:
        raise _bad(at, f"Expected a whole number of at least {least}.")
    return value


def _list(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise _bad(at, "Expected a list.")
    return value


def _series(entry: Any, at: str) -> tuple[str, Points]:
    if not isinstance(entry, dict):
        raise _bad(at, "Expected an object.")
    unknown = set(entry) - {"key", "step", "value", "time"}
    if unknown:
        raise _bad(f"{at}.{min(unknown, key=str)}", "Unknown field.")
    key = entry.get("key")
    if not isinstance(key, str) or not KEY.match(key):
        raise _bad(f"{at}.key", "Expected 1 to 256 printable characters.")
    step = _ints(entry.get("step"), f"{at}.step")
    value = _floats(entry.get("value"), f"{at}.value")
    time = _floats(entry.get("time"), f"{at}.time")
    if not len(step) == len(value) == len(time):
        raise _bad(at, f"step, value and time differ in length: {len(step)}, {len(value)}, {len(time)}.")
    if not np.all(np.isfinite(time)) or np.any(np.abs(time) > 1e11):
        raise _bad(f"{at}.time", "Times are finite seconds since 1970.")
    return key, Points(step, value, time)


def _ints(column: Any, at: str) -> Ints:
    if isinstance(column, bytes):
        ints: Ints = _raw(column, "<i8", at).astype(np.int64)
        return ints
    values = _list(column, at)
    if set(map(type, values)) - {int}:
        index = next(i for i, value in enumerate(values) if type(value) is not int)
        raise _bad(f"{at}.{index}", "Expected a whole number.")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise _bad(at, "A step does not fit 64 bits.") from None


def _floats(column: Any, at: str) -> Floats:
    if isinstance(column, bytes):
        floats: Floats = _raw(column, "<f8", at).astype(np.float64)
        return floats
    values = _list(column, at)
    kinds = set(map(type, values))
    if kinds - {int, float}:
        for index, value in enumerate(values):
            if type(value) not in (int, float) and not (isinstance(value, str) and value in NON_FINITE):
                raise _bad(f"{at}.{index}", 'Expected a number, "NaN", "Infinity" or "-Infinity".')
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        raise _bad(at, "A number is too large.") from None


def _raw(column: bytes, kind: str, at: str) -> Any:
    if len(column) % 8:
        raise _bad(at, "A raw column has eight bytes a value.")
    return np.frombuffer(column, dtype=kind)


def _log(entry: Any, at: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise _bad(at, "Expected an object.")
    unknown = set(entry) - {"time", "level", "stream", "message"}
    if unknown:
        raise _bad(f"{at}.{min(unknown, key=str)}", "Unknown field.")
    time, level, stream = entry.get("time"), entry.get("level", "info"), entry.get("stream", "log")
    message = entry.get("message")
    if not isinstance(time, int | float) or isinstance(time, bool) or not abs(time) < 1e11:
        raise _bad(f"{at}.time", "Expected seconds since 1970.")
    if not isinstance(level, str) or level not in LEVELS:
        raise _bad(f"{at}.level", f"Expected one of {', '.join(sorted(LEVELS))}.")
    if not isinstance(stream, str) or stream not in STREAMS:
        raise _bad(f"{at}.stream", f"Expected one of {', '.join(sorted(STREAMS))}.")
    if not isinstance(message, str):
        raise _bad(f"{at}.message", "Expected text.")
    text = _CONTROL.sub("", message.encode("utf-8", "replace").decode())[:MAX_LINE]
    return {"time": float(time), "level": level, "stream": stream, "message": text}


def _progress(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) - {"step", "total", "note"}:
        raise _bad("progress", "Expected step, total and note.")
    note = value.get("note", "")
    if not isinstance(note, str) or len(note) > 500 or "\x00" in note:
        raise _bad("progress.note", "Expected at most 500 characters.")
    return {
        "step": _whole(value.get("step"), "progress.step", 0),
        "total": _whole(value.get("total"), "progress.total", 0),
        "note": note,
    }
