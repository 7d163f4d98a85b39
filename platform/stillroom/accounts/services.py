"""How accounts come to be: by invitation into an organisation, never by signing up."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class InvitedOnlyAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Closes the sign-up doors of the sign-in library."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
