"""MLflow filters over small lists of rows: experiments, logged models, the registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cmp_to_key
from typing import Any, TypeVar

from stillroom.runs.query import values
from stillroom.runs.query.fields import ATTRIBUTE, METRIC, PARAM, TAG
from stillroom.runs.query.parse import parse, parse_order
from stillroom.runs.query.tree import Clause, Either, Every, Name, Node, Not, QueryError, Value

Row = TypeVar("Row")
Getter = Callable[[Row], Any]
Fields = Callable[[str, str], Getter[Row] | None]
"""From entity ("attribute", "tag", "param", "metric") and key to a reader; None for a field that there is not."""

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


def _reader(name: Name, text: str, fields: Fields[Row]) -> Getter[Row]:
    entity, key = "attribute", name.text
    if len(name.parts) > 1:
        for kind, words in (("attribute", ATTRIBUTE), ("metric", METRIC), ("param", PARAM), ("tag", TAG)):
            if name.parts[0].lower() in words:
                entity, key = kind, name.key
    found = fields(entity, key)
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
    wanted = [_literal(value, text) for value in clause.values]
    if operator in _COMPARE:
        compare, bound = _COMPARE[operator], wanted[0]

        def holds(row: Row) -> bool:
            value = read(row)
            if isinstance(value, int | float) and isinstance(bound, str):
                value = str(value)
            elif isinstance(value, str) and not isinstance(bound, str):
                return False
            return value is not None and value == value and compare(value, bound)

        return holds
    if operator in ("IN", "NOT IN"):
        return lambda row: (value := read(row)) is not None and (str(value) in map(str, wanted)) == (operator == "IN")
    if operator in ("LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE"):
        pattern = like(str(wanted[0]), fold="ILIKE" in operator)
        return lambda row: (
            (value := read(row)) is not None and bool(pattern.fullmatch(str(value))) != operator.startswith("NOT")
        )
    raise QueryError(f"{operator} does not fit {clause.name.text}", text=text, at=clause.at)


def _literal(value: Value, text: str) -> str | float:
    return value.text if value.quoted else values.number(value, text)


def like(pattern: str, *, fold: bool) -> re.Pattern[str]:
    """SQL's LIKE as a regular expression: % any text, _ one character."""
    parts = (".*" if sign == "%" else "." if sign == "_" else re.escape(sign) for sign in pattern)
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if fold else 0))
