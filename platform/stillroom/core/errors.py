"""The one base of every error that a door shows, and its few general kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class StillroomError(Exception):
    """A refusal: a stable dotted code, a sentence, the places it concerns, and an HTTP status.

    `extra` is merged into the answer (for example `last_seq`).
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400

    def __init__(
        self, message: str, *, fields: Mapping[str, str] | None = None, code: str | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = dict(fields or {})
        self.extra = extra
        self.shown_code = code or self.code


class NotFound(StillroomError):
    """There is no such thing for this caller. Never says whether it exists for another."""

    code = "not_found"
    status = 404

    def __init__(self, what: str = "This address") -> None:
        super().__init__(f"{what} does not exist, or you may not see it.")


class Unauthenticated(StillroomError):
    code = "auth.required"
    status = 401


class Forbidden(StillroomError):
    code = "auth.forbidden"
    status = 403


class Invalid(StillroomError):
    code = "invalid"
    status = 422


class Conflict(StillroomError):
    code = "conflict"
    status = 409


class TooLarge(StillroomError):
    code = "too_large"
    status = 413


class TooMany(StillroomError):
    """Too fast. `retry_after_s` becomes the Retry-After header."""

    code = "too_many"
    status = 429

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: int,
        fields: Mapping[str, str] | None = None,
        code: str | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message, fields=fields, code=code, **extra)
        self.retry_after_s = retry_after_s
