"""Who may send a large body, asked before it is read."""

from __future__ import annotations

from collections.abc import Mapping

from stillroom.accounts.sessions import user_of_cookie
from stillroom.core.errors import StillroomError
from stillroom.tenants.callers import caller_from_bearer


def somebody(headers: Mapping[str, str]) -> bool:
    """Whether a person or a run stands behind the headers (names in lower case) of a request.

    A node does not: it sends nothing large, and the secret of its token is compared only further in.
    """
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if not scheme:
        return user_of_cookie(headers.get("cookie", "")) is not None
    if scheme.lower() != "bearer":
        return False
    try:
        caller = caller_from_bearer(text.strip())
    except StillroomError:
        return False
    return caller.user is not None or caller.run is not None
