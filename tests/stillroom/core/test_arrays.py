"""Binary arrays reach PostgreSQL as what they were made from."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillroom.core.arrays import FLOAT8, INT2, INT4, INT8, Array, array_cursor, blobs, numbers, texts
from support.cast import Cast, in_tenant

EACH = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def stored(cast: Cast, array: Array, kind: str) -> list[object]:
    with in_tenant(cast.ada):
        cursor = array_cursor()
        (found,) = cursor.execute(f"select %s::{kind}[]", [array]).fetchone()
        return found


@EACH
@given(values=st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"))))
def test_texts(cast: Cast, values: list[str]) -> None:
    assert stored(cast, texts(values), "text") == values


@EACH
@given(values=st.lists(st.none() | st.binary()))
def test_blobs(cast: Cast, values: list[bytes | None]) -> None:
    assert stored(cast, blobs(values), "bytea") == values


@EACH
@given(values=st.lists(st.none() | st.floats(width=64, allow_nan=False)))
def test_floats_with_nulls(cast: Cast, values: list[float | None]) -> None:
    there = np.array([value is not None for value in values], bool)
    column = np.array([0.0 if value is None else value for value in values])
    assert stored(cast, numbers(column, FLOAT8, there=there), "float8") == values


def test_whole_numbers_at_their_limits(cast: Cast) -> None:
    for element, kind, bits in ((INT2, "int2", 16), (INT4, "int4", 32), (INT8, "int8", 64)):
        values = [-(2 ** (bits - 1)), -1, 0, 2 ** (bits - 1) - 1]
        assert stored(cast, numbers(values, element), kind) == values


def test_the_cursor_is_inside_the_walls(cast: Cast) -> None:
    with in_tenant(cast.ada):
        mine = array_cursor().execute("select count(*), count(*) filter (where tenant_id <> %s) from project",
                                      [cast.ada.tenant]).fetchone()  # fmt: skip
    assert mine[0] > 0
    assert mine[1] == 0
