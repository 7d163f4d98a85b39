"""A query as a condition on a QuerySet of runs."""

from __future__ import annotations

from typing import Any

from django.db import DataError, connections, transaction
from django.db.models import BooleanField, FloatField, Q, QuerySet, TextField
from django.db.models.expressions import RawSQL
from django.utils import timezone

from stillroom.core.tenancy import current_scope
from stillroom.runs.models import Run
from stillroom.runs.query.compile import compiled, order_value
from stillroom.runs.query.fields import Resolver, resolve
from stillroom.runs.query.parse import is_query, parse, parse_order, words
from stillroom.runs.query.tree import QueryError, Value

PATTERN_LIMIT = "5s"


def matching(found: QuerySet[Run], text: str) -> QuerySet[Run]:
    """Runs that fit what somebody typed: a query, or plain words looked for in name, id, recipe, arm and tags.

    Raises QueryError. One more database call for each regular expression.
    """
    if is_query(text):
        return satisfying(found, text)
    for word in words(text):
        found = found.filter(
            Q(name__icontains=word) | Q(id__iexact=word) | Q(recipe__icontains=word) | Q(arm__icontains=word)
            | Q(tags__has_key=word)
        )  # fmt: skip
    return found


def satisfying(found: QuerySet[Run], text: str, *, fields: Resolver = resolve) -> QuerySet[Run]:
    """Runs for which the query holds."""
    condition = compiled(parse(text), text=text, resolve=fields, now=timezone.now())
    for value in condition.patterns:
        _try_pattern(text, value)
    return found.filter(RawSQL(condition.sql, condition.params, BooleanField()))


def ordering(text: str, *, fields: Resolver = resolve) -> tuple[Any, bool]:
    """An expression to sort by and whether downwards, from `metrics.loss DESC`. Raises QueryError."""
    order = parse_order(text)
    sql, params, kind = order_value(order, text=text, resolve=fields)
    return RawSQL(sql, params, FloatField() if kind == "number" else TextField()), order.descending


def _try_pattern(text: str, value: Value) -> None:
    scope = current_scope()
    assert scope is not None
    try:
        with transaction.atomic(using=scope.alias), connections[scope.alias].cursor() as cursor:
            cursor.execute("select '' ~ %s", [value.text])
        with connections[scope.alias].cursor() as cursor:
            cursor.execute(f"set local statement_timeout = '{PATTERN_LIMIT}'")
    except DataError as error:
        reason = str(error).partition("\n")[0]
        raise QueryError(f"This is no regular expression ({reason})", text=text, at=value.at) from None
