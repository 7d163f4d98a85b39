"""HTTP doors: every route declares what it needs, and a route that never checked its need fails loudly.

    door = Door(tags=["runs"])

    @door.get("/runs/{run}", needs=Can.RUN_READ)
    def run_get(request, run: str): ...

Inside, a view enters its tenant through `request.door.org(slug)` or an `<entity>_access` function that calls
`request.door.candidates()`. Both check the declared need.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from ninja import Router
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from stillroom.core.errors import Forbidden, Unauthenticated
from stillroom.core.tokens import RunGrant
from stillroom.tenants.callers import Caller, Member, acting_in, caller_from_bearer, caller_from_user
from stillroom.tenants.policies import Can

View = TypeVar("View", bound=Callable[..., Any])
UNCHECKED = frozenset({Can.PUBLIC, Can.SIGNED_IN})


class Passage:
    """One request's way through a door: who calls, what the route needs, and whether that was checked."""

    def __init__(self, caller: Caller, needs: Can) -> None:
        self.caller = caller
        self.needs = needs
        self.checked = needs in UNCHECKED

    @contextmanager
    def org(self, slug: str | None) -> Iterator[Member]:
        """Enter an organisation's transaction; NotFound or Forbidden otherwise."""
        self.checked = True
        with acting_in(self.caller, slug, self.needs) as member:
            yield member

    def candidates(self) -> tuple[Member, ...]:
        """The memberships among which an id without an organisation is looked up. The need is checked on the one
        that fits.
        """
        if self.caller.user is None:
            raise Forbidden("This is for people; a machine's token cannot do it.")
        self.checked = True
        return self.caller.members

    def run_grant(self, run_id: str) -> RunGrant | None:
        """The grant when the caller is an attempt of exactly this run."""
        grant = self.caller.run
        if grant is not None and grant.run_id == run_id:
            self.checked = True
            return grant
        return None


class DoorRequest(HttpRequest):
    """A request as views behind a door see it."""

    door: Passage
    request_id: str


class Authentication(AuthBase):
    """Session or bearer token, whichever is presented; a bearer token wins and cookies are then ignored."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __call__(self, request: HttpRequest) -> Caller:
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, text = header.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("Send Authorization: Bearer followed by a token.")
            return caller_from_bearer(text.strip())
        user = request.user
        if isinstance(user, AnonymousUser) or not user.is_active:
            raise Unauthenticated("Sign in, or send Authorization: Bearer followed by a token.")
        if check_csrf(request) is not None:
            raise Forbidden("The X-CSRFToken header is missing or wrong. Reload the page.", code="auth.csrf")
        return caller_from_user(user)


authentication = Authentication()


class Door(Router):
    """A router whose routes must say what they need."""

    def opened(self, method: str, path: str, needs: Can | None, options: dict[str, Any]) -> Callable[[View], View]:
        """Register a route; raises TypeError at start when it declares no need."""
        if needs is None:
            raise TypeError(f"{method} {path} declares no need. Add needs=Can.X.")
        options.setdefault("auth", None if needs is Can.PUBLIC else authentication)
        options["openapi_extra"] = {**(options.get("openapi_extra") or {}), "x-needs": needs.value}
        register = self.api_operation([method], path, **options)

        def decorate(view: View) -> View:
            register(_guarded(view, needs))
            return view

        return decorate

    def get(self, path: str, *, needs: Can | None = None, **options: Any) -> Callable[[View], View]:
        return self.opened("GET", path, needs, options)

    def head(self, path: str, *, needs: Can | None = None, **options: Any) -> Callable[[View], View]:
        return self.opened("HEAD", path, needs, options)

    def post(self, path: str, *, needs: Can | None = None, **options: Any) -> Callable[[View], View]:
        return self.opened("POST", path, needs, options)

    def put(self, path: str, *, needs: Can | None = None, **options: Any) -> Callable[[View], View]:
        return self.opened("PUT", path, needs, options)

    def patch(self, path: str, *, needs: Can | None = None, **options: Any) -> Callable[[View], View]:
        return self.opened("PATCH", path, needs, options)

    def delete(self, path: str, *, needs: Can | None = None, **options: Any) -> Callable[[View], View]:
        return self.opened("DELETE", path, needs, options)


def _guarded(view: Callable[..., Any], needs: Can) -> Callable[..., Any]:
    @functools.wraps(view)
    def guarded(request: DoorRequest, *args: Any, **kwargs: Any) -> Any:
        if needs is Can.PUBLIC:
            return view(request, *args, **kwargs)
        caller: Caller = request.auth  # type: ignore[attr-defined]
        if (caller.via == "node") != (needs is Can.NODE):
            raise Forbidden("A node's token opens the agent's doors, and only those.")
        request.door = Passage(caller, needs)
        answer = view(request, *args, **kwargs)
        if not request.door.checked:
            message = f"{request.method} {request.path} answered without checking {needs.value}."
            if settings.DEBUG:
                raise RuntimeError(message)
            raise Forbidden(message)
        return answer

    # The framework reads types from the signature; resolve them where the view was written.
    guarded.__signature__ = inspect.signature(view, eval_str=True)  # type: ignore[attr-defined]
    return guarded
