"""Every error that this client raises on purpose, under one base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class StillroomError(Exception):
    """Base: `message` says what happened, what was expected and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadAddress(StillroomError):
    """What should be the platform's address is none."""


class NotSignedIn(StillroomError):
    """There is no address or no token to use."""


class ConnectionFailed(StillroomError):
    """The platform gave no answer: refused, reset, timed out, or not to be found."""


class ChecksumMismatch(StillroomError):
    """Bytes that arrived are not the bytes that were promised."""


class ApiError(StillroomError):
    """The platform answered with an error.

    status: HTTP status. code: stable and dotted, "spec.invalid". fields: location -> what is wrong there.
    body: the whole answer, for codes that carry more ("last_seq"). request_id: for the administrator's logs.
    retry_after_s: seconds that the server asks to wait before the next try, None when it does not ask.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: Mapping[str, str] | None = None,
        request_id: str = "",
        body: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields: dict[str, str] = dict(fields or {})
        self.request_id = request_id
        self.body: dict[str, Any] = dict(body or {})
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Is the same call likely to succeed later? True for 429 and 5xx, never for any other 4xx."""
        return self.status == 429 or self.status >= 500

    def __str__(self) -> str:
        places = "".join(f"\n  {location}: {reason}" for location, reason in self.fields.items())
        return f"{self.message} ({self.code}){places}"
