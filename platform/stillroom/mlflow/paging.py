"""Page tokens: signed, and good only for the query that gave them."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from django.core import signing

from stillroom.mlflow.errors import invalid

SALT = "mlflow.page"


def page_token(place: list[Any], query: object) -> str:
    """A token for the place where the next page begins."""
    return signing.dumps([place, _fingerprint(query)], salt=SALT, compress=False)


def page_place(token: str, query: object) -> list[Any] | None:
    """The place in a token; None for no token. INVALID_PARAMETER_VALUE when it is not ours or of another query."""
    if not token:
        return None
    try:
        place, fingerprint = signing.loads(token, salt=SALT)
    except (signing.BadSignature, ValueError, TypeError):
        raise invalid("Invalid page token, could not be decoded.") from None
    if fingerprint != _fingerprint(query):
        raise invalid("Invalid page token: it belongs to another query.")
    return list(place)


def page_of(rows: list[Any], limit: int, token: str, query: object) -> tuple[list[Any], str]:
    """One page of a list that is computed anew each time, and the token of the next."""
    place = page_place(token, query)
    start = place[0] if place else 0
    page = rows[start : start + limit]
    return page, page_token([start + limit], query) if start + limit < len(rows) else ""


def _fingerprint(query: object) -> str:
    return hashlib.sha256(orjson.dumps(query, default=str)).hexdigest()[:16]
