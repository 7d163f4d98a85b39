"""Middleware of every request: an id that runs through logs and errors, and the content-security policy."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseNotFound

from stillroom.core.plain import NUL_TEXT

GIVEN_ID = re.compile(r"\A[A-Za-z0-9._-]{1,64}\Z")
APP_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# The console's theme (django-unfold) evaluates expressions in attributes; it is for administrators only.
CONSOLE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
FRAMEWORK_REFUSALS = {
    400: ("invalid", "The request is not valid."),
    404: ("not_found", "This address does not exist."),
    405: ("method_not_allowed", "This address does not take this method."),
    500: ("internal", "Something failed here. The request id finds it in the log."),
}
MLFLOW_PATHS = ("/api/2.0/", "/api/3.0/", "/ajax-api/", "/mlflow/")
PRIVATE_PATHS = ("/api/", "/_allauth/", *MLFLOW_PATHS)
# A file of a run is hostile: it may be looked at, never run.
SANDBOX_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox"

Handler = Callable[[HttpRequest], HttpResponse]


def error_answer(
    request: HttpRequest, *, status: int, code: str, message: str, fields: dict[str, str] | None = None, **extra: Any
) -> HttpResponse:
    """The one form of an error."""
    request_id = getattr(request, "request_id", "")
    body = {"code": code, "message": message, "fields": fields or {}, "request_id": request_id, **extra}
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/json")


class RequestIdMiddleware:
    """Takes the caller's X-Request-ID when it is plain, makes one otherwise, and binds it to every log line."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if GIVEN_ID.match(given) else secrets.token_hex(8)
        request.request_id = request_id  # type: ignore[attr-defined]
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


class ErrorFormMiddleware:
    """Gives the framework's own refusals under /api/ (no such address, wrong method) the one form of an error."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        foreign = not response.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or not foreign or not request.path.startswith("/api/"):
            return response
        code, message = FRAMEWORK_REFUSALS.get(response.status_code, ("refused", "The request was refused."))
        answer = error_answer(request, status=response.status_code, code=code, message=message)
        if "Allow" in response:
            answer["Allow"] = response["Allow"]
        return answer


class PlainAddressMiddleware:
    """Refuses addresses with a NUL character: PostgreSQL cannot compare with one, so nothing has such an id or value.

    MLflow's addresses pass: their door refuses it in its own form.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(MLFLOW_PATHS):
            return self.get_response(request)
        if "\x00" in request.path:
            return HttpResponseNotFound("This address does not exist.", content_type="text/plain")
        if "%00" in request.META.get("QUERY_STRING", ""):
            fields = {
                name.replace("\x00", "?"): NUL_TEXT
                for name, values in request.GET.lists()
                if "\x00" in name or any("\x00" in value for value in values)
            }
            if fields and request.path.startswith("/api/"):
                return error_answer(
                    request, status=422, code="invalid", message="The address is not valid.", fields=fields
                )
            if fields:
                return HttpResponseBadRequest("The address is not valid.", content_type="text/plain")
        return self.get_response(request)


class PrivateAnswerMiddleware:
    """Keeps answers to callers out of every cache; a file that has a tag may be kept if it is asked for again first."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path.startswith(PRIVATE_PATHS):
            response.setdefault("Cache-Control", "private, no-cache" if "ETag" in response else "private, no-store")
        return response


class ContentSecurityMiddleware:
    """Sets the policy that fits the page, unless the view has set a stricter one."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if "Content-Security-Policy" not in response:
            console = request.path.startswith("/admin/")
            response["Content-Security-Policy"] = CONSOLE_POLICY if console else APP_POLICY
        return response
