"""Django behind ASGI with one change of thread a request.

Django's own ASGI handler changes threads for every middleware that is not a coroutine, and starts a thread for every
request; that costs more than storing a batch of points. Here the whole chain, which is synchronous, runs in a thread of
a pool, and only the body goes in and out on the event loop. A body is spooled to disk before the application runs, so
a large one is taken only from somebody who is known: nobody else can fill the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import IO, Any, cast

import orjson
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections
from django.http import HttpResponse, HttpResponseBase
from django.urls import set_script_prefix

THREADS = 32
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Intake:
    """How large a body may be, in bytes: from anybody, and from those whom `known` knows by their headers.

    known: called in a thread, with names in lower case.
    """

    anybody: int
    known_callers: int
    known: Callable[[Mapping[str, str]], bool]


# Whoever watches the process asks here: requests that wait for a slow database may not hold up the answer.
PROBES = ("/healthz", "/readyz")


class _Refused(Exception):
    """The body is not read to its end."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class PooledHandler(ASGIHandler):
    """The application for HTTP. Streamed bodies are asynchronous iterators and stop when their reader is gone.

    intake: limits of request bodies; none: no limit.
    """

    def __init__(self, intake: Intake | None = None) -> None:
        BaseHandler.__init__(self)
        self._intake = intake
        self.load_middleware(is_async=False)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")
        self._probes = ThreadPoolExecutor(len(PROBES), thread_name_prefix="probe")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await self._received(scope, receive)
        except RequestAborted:
            return
        except _Refused as refusal:
            await self.send_response(_refusal(refusal), send)
            return
        request, response = self.create_request(scope, body)
        try:
            if request is not None:
                work = copy_context().run
                threads = self._probes if scope["path"] in PROBES else self._threads
                response = await asyncio.get_running_loop().run_in_executor(threads, work, self._answer, scope, request)
            assert response is not None
            try:
                await self._deliver(response, receive, send)
            finally:
                response.close()
        finally:
            body.close()

    async def _received(self, scope: Scope, receive: Receive) -> IO[bytes]:
        """The body, from its beginning. Raises RequestAborted, and _Refused as soon as it is too large."""
        intake, size, complete = self._intake, _announced(scope), False
        limit = intake.anybody if intake else 0
        with contextlib.ExitStack() as open_files:
            body = open_files.enter_context(
                tempfile.SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, mode="w+b")
            )
            while True:
                if intake is not None and size > limit:
                    limit = await self._larger_limit(intake, scope, size)
                if complete:
                    break
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestAborted
                body.write(message.get("body", b""))
                size, complete = max(size, body.tell()), not message.get("more_body", False)
            body.seek(0)
            open_files.pop_all()
            return cast(IO[bytes], body)

    async def _larger_limit(self, intake: Intake, scope: Scope, size: int) -> int:
        if size > intake.known_callers:
            raise _Refused(413, "too_large", f"A request body has at most {intake.known_callers} bytes.")
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._threads, self._knows, intake, headers):
            message = f"Sign in, or send a token that is valid, before a body of more than {intake.anybody} bytes."
            raise _Refused(401, "auth.required", message)
        return intake.known_callers

    def _knows(self, intake: Intake, headers: Mapping[str, str]) -> bool:
        try:
            return intake.known(headers)
        finally:
            close_old_connections()

    def _answer(self, scope: Scope, request: ASGIRequest) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        try:
            response = self.get_response(request)
        finally:
            close_old_connections()
        response._handler_class = type(self)  # type: ignore[attr-defined]
        return response

    async def _deliver(self, response: HttpResponseBase, receive: Receive, send: Send) -> None:
        if not response.streaming:
            await self.send_response(response, send)
            return
        sending = asyncio.create_task(self.send_response(response, send))
        watching = asyncio.create_task(self.listen_for_disconnect(receive))
        await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, sending):
            if not task.done():
                task.cancel()
            with contextlib.suppress(RequestAborted, asyncio.CancelledError):
                await task


def _announced(scope: Scope) -> int:
    """The size that the request says its body has; 0 where it says none, or nonsense."""
    for name, value in scope["headers"]:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _refusal(refused: _Refused) -> HttpResponse:
    """The one form of an error. The rest of the body is on its way still, so the connection has no further use."""
    body = {"code": refused.code, "message": refused.message, "fields": {}, "request_id": secrets.token_hex(8)}
    headers = {"Connection": "close", "X-Request-ID": body["request_id"]}
    return HttpResponse(orjson.dumps(body), status=refused.status, content_type="application/json", headers=headers)
