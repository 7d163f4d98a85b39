"""Completions of a query on the wire."""

from __future__ import annotations

from ninja import Schema


class SuggestionOut(Schema):
    insert: str
    kind: str
    help: str


class CompletionOut(Schema):
    start: int
    items: list[SuggestionOut]
