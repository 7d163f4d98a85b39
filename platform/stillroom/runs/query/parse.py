"""Text to tree. LALR(1), so that time is linear and what may follow is known at every place."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput
from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

from stillroom.runs.query.tree import Clause, Either, Every, Name, Node, Not, Order, QueryError, Value

MAX_LENGTH, MAX_DEPTH = 100_000, 50

GRAMMAR = r"""
start: either
?either: both (_OR both)*
?both: unary (_AND unary)*
?unary: _NOT unary -> negation
      | "(" either ")"
      | clause
clause: FIELD COMPARATOR value -> compare
      | FIELD LIKE value -> compare
      | FIELD _NOT LIKE value -> compare_not
      | FIELD IN values -> compare
      | FIELD _NOT IN values -> compare_not
      | FIELD IS NULL -> null
      | FIELD IS _NOT NULL -> not_null
values: "(" value ("," value)* ","? ")"
value: STRING | BARE

FIELD: /([^\W\d][\w\-\/:@#$%]*|`[^`]+`)(\.([\w\-\/:@#$%]+|`[^`]+`|"[^"]+"|'[^']+'))*/
COMPARATOR: "!=" | "<=" | ">=" | "!~" | "~*" | "=" | "<" | ">" | "~"
STRING: /'([^']|'')*'|"([^"]|"")*"/
BARE: /[^\s()'"`,<>=!~]+/
_AND.3: /and(?![\w.\-])/i
_OR.3: /or(?![\w.\-])/i
_NOT.3: /not(?![\w.\-])/i
LIKE.3: /i?like(?![\w.\-])/i
IN.3: /in(?![\w.\-])/i
IS.3: /is(?![\w.\-])/i
NULL.3: /null(?![\w.\-])/i
%ignore /\s+/
"""

WORDS = {
    "FIELD": "a field",
    "COMPARATOR": "an operator",
    "STRING": "text in quotes",
    "BARE": "a value",
    "_AND": "AND",
    "_OR": "OR",
    "_NOT": "NOT",
    "LIKE": "LIKE",
    "IN": "IN",
    "IS": "IS",
    "NULL": "NULL",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}
FIELD = re.compile(r"(?:[^\W\d][\w\-/:@#$%]*|`[^`]+`)(?:\.(?:[\w\-/:@#$%]+|`[^`]+`|\"[^\"]+\"|'[^']+'))*")
_PART = re.compile(r"`([^`]+)`|\"([^\"]+)\"|'([^']+)'|([^.`\"']+)")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`")
_SIGNS = re.compile(
    r"[=<>~]|\bI?LIKE\b|\b[iI]?like\s+['\"]|\b[iI][nN]\s*\(|\bis\s+(?:not\s+)?null\b|\bIS\s+(?:NOT\s+)?NULL\b"
)


def is_query(text: str) -> bool:
    """Whether somebody wrote a query; plain words are a search for words."""
    return _SIGNS.search(_QUOTED.sub("'' ", text)) is not None


def words(text: str) -> list[str]:
    """The words of a plain search; what stands in double quotes is one word."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]+)"|(\S+)', text)]


def parse(text: str) -> Node:
    """The tree of a query; raises QueryError."""
    check(text)
    try:
        node: Node = parser().parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        raise _explain(text, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, QueryError):
            raise error.orig_exc from None
        raise
    _check_depth(text, node)
    return node


def parse_order(text: str) -> Order:
    """`metrics.loss DESC`; ascending when it does not say. Raises QueryError."""
    check(text)
    found = FIELD.match(text.strip())
    if found is None:
        raise QueryError("There is no field to sort by", text=text, at=0, expected=("a field",))
    rest = text.strip()[found.end() :]
    if not re.fullmatch(r"(?:\s+(?:asc|desc))?", rest, re.IGNORECASE):
        raise QueryError("This does not fit", text=text, at=found.end(), expected=("ASC", "DESC", "the end"))
    return Order(name_of(found.group(), 0), rest.strip().lower() == "desc")


def name_of(text: str, at: int) -> Name:
    """A field's parts."""
    found = [(match.group(match.lastindex or 0), match.lastindex != 4) for match in _PART.finditer(text)]
    return Name(tuple(part for part, _ in found), tuple(quoted for _, quoted in found), at)


def check(text: str) -> None:
    """Raise QueryError for text that no database takes: too long, NUL, half a character."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"A query has at most {MAX_LENGTH} characters", text="", at=0)
    for at, character in enumerate(text) if not text.isascii() or "\x00" in text else ():
        if character == "\x00" or "\ud800" <= character <= "\udfff":
            raise QueryError("This character cannot be searched for", text=text, at=at)


@cache
def parser() -> Lark:
    """The parser, made at first use."""
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", transformer=_Tree())


class _Tree(Transformer[Token, Any]):
    def start(self, parts: list[Any]) -> Any:
        return parts[0]

    def either(self, parts: list[Any]) -> Any:
        return Either(tuple(parts))

    def both(self, parts: list[Any]) -> Any:
        return Every(tuple(parts))

    def negation(self, parts: list[Any]) -> Any:
        return Not(parts[0])

    def compare(self, parts: list[Any]) -> Any:
        return self._clause(parts, "")

    def compare_not(self, parts: list[Any]) -> Any:
        return self._clause(parts, "NOT ")

    def null(self, parts: list[Any]) -> Any:
        return Clause(self._name(parts[0]), "IS NULL", (), _at(parts[1]))

    def not_null(self, parts: list[Any]) -> Any:
        return Clause(self._name(parts[0]), "IS NOT NULL", (), _at(parts[1]))

    def values(self, parts: list[Any]) -> Any:
        return tuple(parts)

    def value(self, parts: list[Any]) -> Any:
        text = str(parts[0])
        if parts[0].type == "BARE":
            return Value(text, False, _at(parts[0]))
        quote = text[0]
        return Value(text[1:-1].replace(quote * 2, quote), True, _at(parts[0]))

    def _clause(self, parts: list[Any], negation: str) -> Clause:
        field, operator, value = parts
        values = value if isinstance(value, tuple) else (value,)
        return Clause(self._name(field), f"{negation}{operator.upper()}", values, _at(operator))  # type: ignore[arg-type]

    def _name(self, token: Token) -> Name:
        return name_of(str(token), _at(token))


def _at(token: Token) -> int:
    return token.start_pos or 0


def _check_depth(text: str, node: Node) -> None:
    """Refuse towers of NOT, which would exhaust the stack of those who walk the tree."""
    level: list[Node] = [node]
    for _ in range(MAX_DEPTH):
        following: list[Node] = []
        for found in level:
            if isinstance(found, Not):
                following.append(found.part)
            elif isinstance(found, Every | Either):
                following.extend(found.parts)
        if not following:
            return
        level = following
    raise QueryError(f"The query is nested more than {MAX_DEPTH} levels deep", text=text, at=0)


def _explain(text: str, error: UnexpectedInput) -> QueryError:
    if isinstance(error, UnexpectedToken):
        wanted = set(error.accepts or error.expected)
        end = error.token.type == "$END"
        at = len(text.rstrip()) if end else (error.token.start_pos or 0)
        problem = "The query ends too early" if end else f"{str(error.token)[:40]!r} does not fit"
    else:
        assert isinstance(error, UnexpectedCharacters)
        wanted = set(error.allowed or ())
        at = error.pos_in_stream or 0
        character = text[at : at + 1]
        problem = "A quote is not closed" if character in ("'", '"', "`") else f"{character!r} does not fit"
    return QueryError(problem, text=text, at=at, expected=expectation(wanted))


def expectation(terminals: set[str]) -> tuple[str, ...]:
    """Grammar terminals in a person's words, in a fixed order."""
    return tuple(word for terminal, word in WORDS.items() if terminal in terminals)
