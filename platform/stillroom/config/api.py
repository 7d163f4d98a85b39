"""The REST API: all doors under one NinjaAPI, and the one form of every error."""

from __future__ import annotations

import errno
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser
from ninja.renderers import BaseRenderer
from ninja.types import DictStrAny
from psycopg_pool import PoolTimeout

from stillroom.alerts.api import doors as alerts
from stillroom.boards.api import door as boards
from stillroom.core.errors import StillroomError, TooMany
from stillroom.core.http import error_answer
from stillroom.core.plain import read_json
from stillroom.runs.api import doors as runs
from stillroom.scheduling.api import doors as scheduling
from stillroom.telemetry.api import doors as telemetry
from stillroom.tenants.api import door as tenants

log = structlog.get_logger(__name__)


class JsonRenderer(BaseRenderer):
    """JSON by orjson: times as ISO 8601 with Z."""

    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        return orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


class PlainParser(Parser):
    """JSON bodies without what the database or an answer could not hold."""

    def parse_body(self, request: HttpRequest) -> DictStrAny:
        payload: DictStrAny = read_json(request.body)
        return payload


api = NinjaAPI(
    title="Stillroom",
    version="1",
    description="Submit distillation, optimizer and federated experiments, follow them live, compare and rank them.",
    urls_namespace="api",
    renderer=JsonRenderer(),
    parser=PlainParser(),
)
for door in (tenants, *runs, *telemetry, *scheduling, boards, *alerts):
    api.add_router("", door)


@api.exception_handler(StillroomError)
def refused(request: HttpRequest, error: StillroomError) -> HttpResponse:
    """Our own refusals."""
    answer = error_answer(
        request, status=error.status, code=error.shown_code, message=error.message, fields=error.fields, **error.extra
    )
    if isinstance(error, TooMany):
        answer["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        answer["WWW-Authenticate"] = "Bearer"
        get_token(request)  # a browser that is about to sign in needs the cookie
    return answer


@api.exception_handler(ValidationError)
def malformed(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Input that does not fit its schema; locations without the name of the view's parameter."""
    fields: dict[str, str] = {}
    for item in error.errors:
        source, *path = [str(part) for part in item["loc"]]
        if source == "body" and path and path[0] in ("payload",):
            path = path[1:]
        fields.setdefault(".".join(path), str(item["msg"]))
    return error_answer(request, status=422, code="invalid", message="The request is not valid.", fields=fields)


@api.exception_handler(Http404)
def not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return error_answer(request, status=404, code="not_found", message="This address does not exist.")


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Errors that the framework raises itself, and the refusal of a body, which it wraps."""
    if isinstance(error.__cause__, StillroomError):
        return refused(request, error.__cause__)
    return error_answer(request, status=error.status_code, code="invalid", message=str(error))


@api.exception_handler(OperationalError)
@api.exception_handler(PoolTimeout)
def database_away(request: HttpRequest, error: Exception) -> HttpResponse:
    """The database is away: nothing was stored, and the caller should come back."""
    log.warning("api.database_away", error=str(error))
    message = "The database cannot be reached. Nothing was stored; try again."
    answer = error_answer(request, status=503, code="unavailable", message=message)
    answer["Retry-After"] = "2"
    return answer


@api.exception_handler(OSError)
def disk_trouble(request: HttpRequest, error: OSError) -> HttpResponse:
    """A full disk is for the administrator to mend: the caller keeps what it has and comes back."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return crashed(request, error)
    log.error("api.disk_full", path=request.path, error=str(error))
    message = "The platform's disk is full. Nothing was stored; tell an administrator and try again."
    answer = error_answer(request, status=507, code="storage.full", message=message)
    answer["Retry-After"] = "30"
    return answer


@api.exception_handler(Exception)
def crashed(request: HttpRequest, error: Exception) -> HttpResponse:
    """A defect of ours: logged in full, shown as an id."""
    if settings.DEBUG:
        raise error
    log.exception("api.crashed", path=request.path)
    return error_answer(
        request, status=500, code="internal", message="Something failed here. The request id finds it in the log."
    )


def openapi() -> DictStrAny:
    """The OpenAPI description."""
    return api.get_openapi_schema()
