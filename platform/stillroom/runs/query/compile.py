"""Tree to SQL. A comparison with a value that is not there is false, so NOT of it is true: two values, never three.

NaN is a value that differs from every number: only != and NOT IN hold for it. The SQL consists of constants of this
package; what a person typed is bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from stillroom.runs.query import values
from stillroom.runs.query.fields import Resolver, Source
from stillroom.runs.query.tree import Clause, Every, Node, Not, Order, QueryError, Value

COMPARE = frozenset({"=", "!=", "<", "<=", ">", ">="})
TEXT = frozenset({"=", "!=", "LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE", "IN", "NOT IN", "~", "~*", "!~"})
SQL_OF = {"!=": "<>", "NOT LIKE": "not like", "NOT ILIKE": "not ilike"}
MAX_PATTERN = 200


@dataclass(slots=True)
class Compiled:
    """A boolean SQL expression over the table `run`, its parameters, and the regular expressions in it."""

    sql: str
    params: list[object] = field(default_factory=list)
    patterns: list[Value] = field(default_factory=list)


def compiled(node: Node, *, text: str, resolve: Resolver, now: datetime) -> Compiled:
    """The condition of a tree; raises QueryError for a field, operator or value that does not fit."""
    compiler = _Compiler(text, resolve, now)
    sql = compiler.node(node)
    return Compiled(sql, compiler.params, compiler.patterns)


def order_value(order: Order, *, text: str, resolve: Resolver) -> tuple[str, list[object], str]:
    """SQL of the value to sort by, its parameters and its kind."""
    source = resolve(order.name, text)
    if source.kind == "metric":
        return f"nullif({_scalar(source)}, 'NaN')", [*source.params], "number"
    if source.kind == "loose" and not source.strict:
        numeric = f"case when {source.sql} ~ '{values.NUMERIC_TEXT}' then ({source.sql})::numeric::float8 end"
        return numeric, [*source.params, *source.params], "number"
    if source.kind == "time":
        return f"extract(epoch from {source.sql})::float8", [*source.params], "number"
    return source.sql, [*source.params], "number" if source.kind in ("number", "span") else "text"


def _scalar(source: Source) -> str:
    return f"(select {source.sql} from series s where s.run_id = run.id and s.key = %s)"


class _Compiler:
    def __init__(self, text: str, resolve: Resolver, now: datetime) -> None:
        self.text, self.resolve, self.now = text, resolve, now
        self.params: list[object] = []
        self.patterns: list[Value] = []

    def node(self, node: Node) -> str:
        if isinstance(node, Clause):
            return self.clause(node)
        if isinstance(node, Not):
            return f"not {self.node(node.part)}"
        joint = " and " if isinstance(node, Every) else " or "
        return f"({joint.join(self.node(part) for part in node.parts)})"

    def clause(self, clause: Clause) -> str:
        source = self.resolve(clause.name, self.text)
        if source.kind == "metric":
            return self.metric(clause, source)
        if clause.operator in ("IS NULL", "IS NOT NULL"):
            self.params += source.params
            if source.rows:
                return f"({'not ' if clause.operator == 'IS NULL' else ''}exists {source.sql})"
            return f"({source.sql} {clause.operator.lower()})"
        if source.kind in ("number", "span", "time"):
            return self.measured(clause, source)
        if source.kind == "loose" and not source.strict and all(map(values.is_number, clause.values)):
            return self.numeric_text(clause, source)
        return self.textual(clause, source)

    def metric(self, clause: Clause, source: Source) -> str:
        self.params += source.params
        exists = "exists (select 1 from series s where s.run_id = run.id and s.key = %s"
        if clause.operator == "IS NULL":
            return f"(not {exists}))"
        if clause.operator == "IS NOT NULL":
            return f"({exists}))"
        if clause.operator in ("!=", "NOT IN"):  # PostgreSQL calls NaN unequal to any number, as everybody does
            return f"({exists} and {self.comparison(clause, source, source.sql)}))"
        return f"({exists} and {self.comparison(clause, source, source.sql)} and {source.sql} <> 'NaN'))"

    def measured(self, clause: Clause, source: Source) -> str:
        self.params += source.params
        return f"coalesce({self.comparison(clause, source, source.sql)}, false)"

    def comparison(self, clause: Clause, source: Source, sql: str) -> str:
        """An order comparison or membership of numbers, spans or moments."""
        if clause.operator in ("IN", "NOT IN"):
            self.params.append([self.measure(source, value) for value in clause.values])
            return f"{sql} {'=' if clause.operator == 'IN' else '<>'} {'any' if clause.operator == 'IN' else 'all'}(%s)"
        if clause.operator not in COMPARE:
            raise self.unfit(clause, COMPARE | {"IN"})
        self.params.append(self.measure(source, clause.values[0]))
        return f"{sql} {SQL_OF.get(clause.operator, clause.operator)} %s"

    def measure(self, source: Source, value: Value) -> object:
        if source.kind == "time":
            return values.moment(value, self.text, self.now)
        return values.span(value, self.text) if source.kind == "span" else values.number(value, self.text)

    def numeric_text(self, clause: Clause, source: Source) -> str:
        """Text that holds a number, compared as one; other text is not equal to any."""
        if clause.operator not in COMPARE | {"IN", "NOT IN"}:
            raise self.unfit(clause, COMPARE | {"IN"})
        self.params += [*source.params, *source.params]
        value = f"(case when {source.sql} ~ '{values.NUMERIC_TEXT}' then ({source.sql})::numeric end)"
        numbers = [Decimal(repr(values.number(found, self.text))) for found in clause.values]
        if clause.operator in ("IN", "NOT IN"):
            self.params.append(numbers)
            test = f"{value} = any(%s::numeric[])" if clause.operator == "IN" else f"{value} <> all(%s::numeric[])"
            return f"coalesce({test}, false)"
        self.params.append(numbers[0])
        return f"coalesce({value} {SQL_OF.get(clause.operator, clause.operator)} %s::numeric, false)"

    def textual(self, clause: Clause, source: Source) -> str:
        operator = clause.operator
        allowed = TEXT - {"~", "~*", "!~", "NOT LIKE", "NOT ILIKE", "IN", "NOT IN"} if source.strict else TEXT
        if operator not in allowed and not (source.options and operator in ("IN", "NOT IN")):
            raise self.unfit(clause, allowed)
        texts = [self.word(source, value, operator) for value in clause.values]
        self.params += source.params
        if operator in ("IN", "NOT IN"):
            self.params.append(texts)
            return self.tested(source, "= any(%s)" if operator == "IN" else "<> all(%s)")
        self.params.append(texts[0])
        if operator in ("~", "~*", "!~"):
            self.pattern(clause.values[0])
        escape = " escape ''" if operator.endswith("LIKE") else ""
        return self.tested(source, f"{SQL_OF.get(operator, operator)} %s{escape}")

    def tested(self, source: Source, test: str) -> str:
        if source.rows:
            return f"exists (select 1 from {source.sql} as found(value) where found.value {test})"
        return f"coalesce({source.sql} {test}, false)"

    def word(self, source: Source, value: Value, operator: str) -> str:
        if source.strict and not value.quoted:
            raise QueryError(
                f"{values.shown(value)} stands without quotes",
                text=self.text,
                at=value.at,
                expected=("text in quotes",),
            )
        text = source.rewrite(value.text) if source.rewrite and operator in ("=", "!=", "IN", "NOT IN") else value.text
        if source.options and operator in ("=", "!=", "IN", "NOT IN") and text not in source.options:
            raise QueryError(
                f"{values.shown(value)} is not one of the possible values",
                text=self.text,
                at=value.at,
                expected=source.options,
            )
        return text

    def pattern(self, value: Value) -> None:
        """Regular expressions are short and refer back to nothing: those can take exponential time."""
        if len(value.text) > MAX_PATTERN:
            raise QueryError(f"A regular expression has at most {MAX_PATTERN} characters", text=self.text, at=value.at)
        if any(f"\\{digit}" in value.text for digit in "123456789"):
            raise QueryError("A regular expression may not refer back to a group", text=self.text, at=value.at)
        self.patterns.append(value)

    def unfit(self, clause: Clause, allowed: frozenset[str]) -> QueryError:
        return QueryError(
            f"{clause.operator} does not fit {clause.name.text}",
            text=self.text,
            at=clause.at,
            expected=tuple(sorted(allowed)),
        )
