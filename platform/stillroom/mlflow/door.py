"""The door itself: who calls, which route, which tenant, and every refusal as MLflow's JSON.

A token is one person in one organisation, so a request enters that tenant's transaction before the view runs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from psycopg_pool import PoolTimeout

from stillroom.core.errors import StillroomError, TooMany, Unauthenticated
from stillroom.core.tenancy import tenant_tx
from stillroom.mlflow.errors import STATUS, MlflowError, translated
from stillroom.mlflow.messages import Message, read, storable
from stillroom.tenants.callers import Member, member_from_token
from stillroom.tenants.policies import Can

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One request behind the door: who asks, what, and the parts of its path."""

    request: HttpRequest
    member: Member
    message: Message
    path: dict[str, str]


View = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """A view, what it needs, and whether it enters the tenant by itself because it streams."""

    view: View
    needs: Can
    streams: bool


class Routes:
    """Routes by method and path; `{name}` in a path matches one segment, `{path:rest}` everything."""

    def __init__(self) -> None:
        self.exact: dict[tuple[str, str], Route] = {}
        self.patterns: list[tuple[str, re.Pattern[str], Route]] = []

    def on(self, method: str, path: str, needs: Can, *, streams: bool = False) -> Callable[[View], View]:
        """Register a view."""

        def register(view: View) -> View:
            route = Route(view, needs, streams)
            if "{" not in path:
                self.exact[method, path] = route
            else:
                pattern = re.sub(r"\{path:(\w+)\}", r"(?P<\1>.*)", path)
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
                self.patterns.append((method, re.compile(rf"\A{pattern}\Z", re.DOTALL), route))
            return view

        return register

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route of a request; ENDPOINT_NOT_FOUND when there is none."""
        route = self.exact.get((method, path))
        if route is not None:
            return route, {}
        for wanted, pattern, route in self.patterns:
            found = pattern.match(path)
            if found is not None and wanted == method:
                return route, found.groupdict()
        raise MlflowError("ENDPOINT_NOT_FOUND", f"Stillroom does not serve {method} {path[:200]}.")


def door(routes: Routes) -> Callable[..., HttpResponseBase]:
    """The Django view of a set of routes; the address pattern passes `path`."""

    @csrf_exempt
    def view(request: HttpRequest, path: str) -> HttpResponseBase:
        try:
            return _serve(routes, request, path)
        except StillroomError as error:
            status, code, message = translated(error)
            answer = refusal(code, message, status)
            if isinstance(error, TooMany):
                answer["Retry-After"] = str(error.retry_after_s)
            if status == 401:
                answer["WWW-Authenticate"] = "Bearer"
            return answer
        except RequestDataTooBig:
            return refusal("INVALID_PARAMETER_VALUE", "The request is too large. Send less at once.", 413)
        except (OperationalError, PoolTimeout) as error:
            log.warning("mlflow.database_away", error=str(error))
            message = "The database cannot be reached. Nothing was stored; try again."
            answer = refusal("TEMPORARILY_UNAVAILABLE", message, 503)
            answer["Retry-After"] = "2"
            return answer
        except Exception:
            log.exception("mlflow.crashed", path=request.path)
            return refusal("INTERNAL_ERROR", "Something failed here. The request id finds it in the log.", 500)

    return view


@csrf_exempt
def unknown(request: HttpRequest, path: str = "") -> HttpResponse:
    """Any other address of MLflow's: the same refusal as within the door, also to strangers."""
    return refusal("ENDPOINT_NOT_FOUND", f"Stillroom does not serve {request.method} {path[:200]}.")


def _serve(routes: Routes, request: HttpRequest, path: str) -> HttpResponseBase:
    member = member_of(request.headers.get("Authorization", ""))
    route, parts = routes.find(request.method or "", path)
    member.require(route.needs)
    for name, value in parts.items():
        storable(name, value)
    if route.streams:
        answer = route.view(Call(request, member, Message({}), parts))
    else:
        message = read(request)
        with tenant_tx(member.tenant_id):
            answer = route.view(Call(request, member, message, parts))
    if isinstance(answer, HttpResponseBase):
        return answer
    return HttpResponse(orjson.dumps(answer), content_type="application/json")


def member_of(header: str) -> Member:
    """Who a Bearer token, or Basic credentials with a token as password, stands for; raises Unauthenticated."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() == "basic":
        text = _basic(text.strip())
    elif scheme.lower() != "bearer":
        raise Unauthenticated("Set MLFLOW_TRACKING_TOKEN to an API token of yours.")
    text = text.strip()
    if text.startswith(("sr_run_", "sr_node_")):
        raise MlflowError("PERMISSION_DENIED", "This is for API tokens of people; a machine's token cannot do it.")
    return member_from_token(text)


def _basic(text: str) -> str:
    """The token in Basic credentials: the password, or the user name when the password is empty."""
    try:
        user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("The Basic credentials cannot be read.") from None
    return password or user


def refusal(code: str, message: str, status: int | None = None) -> HttpResponse:
    """An error in MLflow's form."""
    body = {"error_code": code, "message": message}
    return HttpResponse(orjson.dumps(body), status=status or STATUS.get(code, 400), content_type="application/json")
