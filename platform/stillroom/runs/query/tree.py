"""What a query means, as a tree; and the error that points at the character."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf

from stillroom.core.errors import Invalid

WINDOW = 80


class QueryError(Invalid):
    """A query that cannot be understood: `column` counts characters from 1, `caret` draws it, `expected` says what
    would fit.
    """

    code = "query.invalid"

    def __init__(self, problem: str, *, text: str, at: int, expected: tuple[str, ...] = ()) -> None:
        self.problem, self.at, self.expected = problem, at, expected
        wanted = f" Expected {_either(expected)}." if expected else ""
        message = f"{problem} at column {at + 1}.{wanted}"
        super().__init__(message, fields={"q": message}, column=at + 1, caret=caret(text, at), expected=list(expected))


def caret(text: str, at: int) -> str:
    """The query's line around `at` and a caret below it, two lines."""
    line = text.replace("\n", " ").replace("\r", " ").replace("\t", " ")
    start = max(0, at - WINDOW // 2)
    return f"{line[start : start + WINDOW]}\n{' ' * (at - start)}^"


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


@dataclass(frozen=True, slots=True)
class Name:
    """A field as written: its parts without quotes, and which of them were quoted. `at` counts from 0."""

    parts: tuple[str, ...]
    quoted: tuple[bool, ...]
    at: int

    @property
    def key(self) -> str:
        """Everything behind the first dot."""
        return ".".join(self.parts[1:])

    @property
    def text(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Value:
    """A literal as written, without its quotes."""

    text: str
    quoted: bool
    at: int


Operator = OneOf[
    "=", "!=", "<", "<=", ">", ">=", "~", "~*", "!~", "LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE", "IN", "NOT IN",
    "IS NULL", "IS NOT NULL",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison. `values` is empty for IS NULL, has one value for most and any number for IN."""

    name: Name
    operator: Operator
    values: tuple[Value, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Node


Node = Clause | Every | Either | Not


@dataclass(frozen=True, slots=True)
class Order:
    """One key to sort by."""

    name: Name
    descending: bool
