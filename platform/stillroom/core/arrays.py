"""PostgreSQL arrays in their binary form, made from whole columns: no Python object an element, no quoting.

For statements that unnest columns. A cursor from `array_cursor` takes them as parameters.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from django.db import connections
from psycopg.adapt import Dumper, PyFormat
from psycopg.pq import Format

from stillroom.core.tenancy import APP, current_scope

Numbers = np.ndarray[Any, np.dtype[Any]]

_HEAD = struct.Struct(">iiIii")  # dimensions, whether there are nulls, element's type, length, lower bound
BYTEA, INT8, INT2, INT4, TEXT, FLOAT8 = 17, 20, 21, 23, 25, 701
_WIDE = {INT2: ">i2", INT4: ">i4", INT8: ">i8", FLOAT8: ">f8"}
_ARRAY_OF = {BYTEA: 1001, INT2: 1005, INT4: 1007, TEXT: 1009, INT8: 1016, FLOAT8: 1022}


@dataclass(frozen=True, slots=True)
class Array:
    """One parameter: the array's type and its bytes."""

    oid: int
    data: bytes


class _ArrayDumper(Dumper):
    format = Format.BINARY

    # Any hashable value serves psycopg as a key; its annotation knows types only.
    def get_key(self, obj: Array, format: PyFormat) -> tuple[type, int]:  # type: ignore[override]
        return (self.cls, obj.oid)

    def upgrade(self, obj: Array, format: PyFormat) -> _ArrayDumper:
        dumper = type(self)(self.cls)
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: Array) -> bytes:
        return obj.data


def array_cursor() -> psycopg.Cursor[Any]:
    """A cursor of the open scope's transaction that binds parameters on the server."""
    scope = current_scope()
    wrapper = connections[scope.alias if scope else APP]
    wrapper.ensure_connection()
    connection: psycopg.Connection[Any] = wrapper.connection
    cursor = psycopg.Cursor(connection)
    cursor.adapters.register_dumper(Array, _ArrayDumper)
    return cursor


def numbers(column: Numbers | Sequence[Any], element: int, *, there: Numbers | None = None) -> Array:
    """An array of INT2, INT4, INT8 or FLOAT8; null where `there` is false."""
    values = np.asarray(column)
    cells = np.empty(len(values), np.dtype([("length", ">i4"), ("value", _WIDE[element])]))
    cells["length"] = cells.dtype.itemsize - 4
    cells["value"] = values
    if there is None or there.all():
        return _array(element, len(values), False, cells.tobytes())
    cells["length"][~there] = -1
    kept = np.ones((len(values), cells.dtype.itemsize), bool)
    kept[~there, 4:] = False
    return _array(element, len(values), True, cells.view(np.uint8).reshape(kept.shape)[kept].tobytes())


def texts(values: Sequence[str]) -> Array:
    """text[]."""
    return _parts(TEXT, [value.encode() for value in values])


def blobs(values: Sequence[bytes | None]) -> Array:
    """bytea[]; None is null."""
    return _parts(BYTEA, values)


def _parts(element: int, values: Sequence[bytes | None]) -> Array:
    pieces: list[bytes] = []
    for value in values:
        pieces += (b"\xff\xff\xff\xff",) if value is None else (len(value).to_bytes(4, "big"), value)
    return _array(element, len(values), None in values, b"".join(pieces))


def _array(element: int, length: int, nulls: bool, body: bytes) -> Array:
    return Array(_ARRAY_OF[element], _HEAD.pack(1, int(nulls), element, length, 1) + body)
