"""What may come next at the cursor: fields and keys, operators, values, AND and OR."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lark import UnexpectedInput

from stillroom.runs.query.fields import METRIC_COLUMNS, PLAIN
from stillroom.runs.query.parse import check, parser
from stillroom.runs.query.tree import Name, QueryError

PARTIAL = re.compile(r"(?:[^\s()<>=!~,'\"`]|(?<=\.)`[^`]*`?|(?<=\.)\"[^\"]*\"?)*\Z")
PLAIN_KEY = re.compile(r"[\w\-/:@#$%.]+")
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL")
MOST = 60


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Text to put at the cursor, what sort of thing it is, and a word of help."""

    insert: str
    kind: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys that the runs in question have."""

    metrics: Iterable[str] = ()
    params: Iterable[str] = ()
    tags: Iterable[str] = ()


def complete(text: str, at: int, keys: Keys) -> tuple[int, list[Suggestion]]:
    """Where the word at the cursor begins, and what it may become. A broken beginning suggests nothing."""
    head = text[:at]
    found = PARTIAL.search(head)
    start = found.start() if found else at
    typed = head[start:].lower()
    try:
        check(head)
        state = parser().parse_interactive(head[:start])
        state.exhaust_lexer()
        accepted: set[str] = state.accepts()  # type: ignore[no-untyped-call]
    except (UnexpectedInput, QueryError):
        return start, []
    options: list[Suggestion] = []
    if "FIELD" in accepted:
        options += _fields(keys)
        options.append(Suggestion("NOT", "word", "the opposite"))
    if "COMPARATOR" in accepted:
        options += [Suggestion(operator, "operator") for operator in OPERATORS]
    if "BARE" in accepted:
        options += _values(head[:start])
    options += [Suggestion(word, "word") for word, terminal in (("AND", "_AND"), ("OR", "_OR")) if terminal in accepted]
    fits = [option for option in options if typed in option.insert.lower()]
    fits.sort(key=lambda option: not option.insert.lower().startswith(typed))
    return start, fits[:MOST]


def _fields(keys: Keys) -> list[Suggestion]:
    found = [Suggestion(name, "field", help) for name, (_, help) in PLAIN.items()]
    for entity, names in (("metrics", keys.metrics), ("params", keys.params), ("tags", keys.tags)):
        found += [Suggestion(f"{entity}.{quoted(key)}", entity.removesuffix("s")) for key in names]
    return found


def quoted(key: str) -> str:
    """A key as a query writes it."""
    plain = PLAIN_KEY.fullmatch(key) and ".." not in key and not key.startswith(".") and not key.endswith(".")
    if plain and key.rpartition(".")[2] not in METRIC_COLUMNS:
        return key
    return f'"{key}"' if "`" in key else f"`{key}`"


def _values(head: str) -> list[Suggestion]:
    """Values of the field that the cursor's comparison begins with."""
    words = re.findall(r"[\w.]+", head)
    for word in reversed(words):
        source = PLAIN.get(Name((word,), (False,), 0).text.lower().rpartition(".")[2])
        if source is None:
            continue
        if source[0].options:
            return [Suggestion(option, "value") for option in source[0].options]
        examples = {"time": ("1h", "1d", "7d", "30d"), "span": ("60s", "15m", "2h")}.get(source[0].kind, ())
        return [Suggestion(example, "value") for example in examples]
    return []
