"""MLflow filters over small lists of rows: experiments, logged models, the registry. Types are MLflow's: numbers stand
without quotes and have an order, text stands in quotes and has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cmp_to_key
from typing import Any, TypeVar

from stillroom.runs.query import values
from stillroom.runs.query.fields import ATTRIBUTE, METRIC, PARAM, TAG
from stillroom.runs.query.parse import parse, parse_order
from stillroom.runs.query.tree import Clause, Either, Every, Name, Node, Not, QueryError

Row = TypeVar("Row")
Getter = Callable[[Row], Any]
Fields = Callable[[str, str], Getter[Row] | None]
"""From entity ("attribute", "tag", "param", "metric") and key to a reader; None for a field that there is not."""

NUMBERS = frozenset({
    "creation_time", "creation_timestamp", "creation_timestamp_ms", "last_update_time", "last_updated_timestamp",
    "last_updated_timestamp_ms", "timestamp", "version", "version_number",
})  # fmt: skip
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def matching(rows: Iterable[Row], query: str, fields: Fields[Row]) -> list[Row]:
    """The rows that fit; raises QueryError."""
    if not query.strip():
        return list(rows)
    test = _test(parse(query), query, fields)
    return [row for row in rows if test(row)]


def ordered(rows: list[Row], order: list[str], fields: Fields[Row]) -> list[Row]:
    """Sorted by each of `order`; what is missing comes last either way. Stable."""
    keys = []
    for text in order:
        wanted = parse_order(text)
        keys.append((_reader(wanted.name, text, fields), wanted.descending))

    def compare(one: Row, other: Row) -> int:
        for read, descending in keys:
            left, right = read(one), read(other)
            if left is None or right is None:
                if (left is None) != (right is None):
                    return 1 if left is None else -1
            elif left != right:
                return -1 if (left < right) != descending else 1
        return 0

    return sorted(rows, key=cmp_to_key(compare))


def _place(name: Name) -> tuple[str, str]:
    for kind, words in (("attribute", ATTRIBUTE), ("metric", METRIC), ("param", PARAM), ("tag", TAG)):
        if len(name.parts) > 1 and name.parts[0].lower() in words:
            return kind, name.key
    return "attribute", name.text


def _reader(name: Name, text: str, fields: Fields[Row]) -> Getter[Row]:
    found = fields(*_place(name))
    if found is None:
        raise QueryError(f"Invalid attribute key {name.text!r} specified", text=text, at=name.at)
    return found


def _test(node: Node, text: str, fields: Fields[Row]) -> Callable[[Row], bool]:
    if isinstance(node, Clause):
        return _clause(node, text, fields)
    if isinstance(node, Not):
        inner = _test(node.part, text, fields)
        return lambda row: not inner(row)
    tests = [_test(part, text, fields) for part in node.parts]
    if isinstance(node, Every):
        return lambda row: all(test(row) for test in tests)
    assert isinstance(node, Either)
    return lambda row: any(test(row) for test in tests)


def _clause(clause: Clause, text: str, fields: Fields[Row]) -> Callable[[Row], bool]:
    read = _reader(clause.name, text, fields)
    operator = clause.operator
    if operator == "IS NULL":
        return lambda row: read(row) is None
    if operator == "IS NOT NULL":
        return lambda row: read(row) is not None
    entity, key = _place(clause.name)
    if entity == "metric" or (entity == "attribute" and key in NUMBERS):
        return _measured(clause, text, read)
    return _textual(clause, text, read)


def _measured(clause: Clause, text: str, read: Getter[Row]) -> Callable[[Row], bool]:
    """A comparison of numbers; NaN differs from every number."""
    bounds = [values.number(value, text) for value in clause.values]
    if clause.operator in ("IN", "NOT IN"):
        return lambda row: (value := read(row)) is not None and (value in bounds) == (clause.operator == "IN")
    if clause.operator not in _COMPARE:
        raise _unfit(clause, text, (*_COMPARE, "IN"))
    compare = _COMPARE[clause.operator]
    return lambda row: (value := read(row)) is not None and compare(value, bounds[0])


def _textual(clause: Clause, text: str, read: Getter[Row]) -> Callable[[Row], bool]:
    """A comparison of text."""
    for value in clause.values:
        if not value.quoted:
            shown = values.shown(value)
            raise QueryError(f"{shown} stands without quotes", text=text, at=value.at, expected=("text in quotes",))
    wanted = [value.text for value in clause.values]
    negated = clause.operator in ("!=", "NOT IN", "NOT LIKE", "NOT ILIKE")
    if clause.operator in ("=", "!=", "IN", "NOT IN"):
        return lambda row: (value := read(row)) is not None and (str(value) in wanted) != negated
    if not clause.operator.endswith("LIKE"):
        raise _unfit(clause, text, ("=", "!=", "LIKE", "ILIKE", "IN"))
    pattern = like(wanted[0], fold=clause.operator.endswith("ILIKE"))
    return lambda row: (value := read(row)) is not None and bool(pattern.fullmatch(str(value))) != negated


def _unfit(clause: Clause, text: str, allowed: tuple[str, ...]) -> QueryError:
    problem = f"{clause.operator} does not fit {clause.name.text}"
    return QueryError(problem, text=text, at=clause.at, expected=allowed)


def like(pattern: str, *, fold: bool) -> re.Pattern[str]:
    """SQL's LIKE as a regular expression: % any text, _ one character."""
    parts = (".*" if sign == "%" else "." if sign == "_" else re.escape(sign) for sign in pattern)
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if fold else 0))
