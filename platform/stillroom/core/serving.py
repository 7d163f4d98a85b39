"""Django behind ASGI with one change of thread a request.

Django's own ASGI handler changes threads for every middleware that is not a coroutine, and starts a thread for every
request; that costs more than storing a batch of points. Here the whole chain, which is synchronous, runs in a thread of
a pool, and only the body goes in and out on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections
from django.http import HttpResponseBase
from django.urls import set_script_prefix

THREADS = 32
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class PooledHandler(ASGIHandler):
    """The application for HTTP. Streamed bodies are asynchronous iterators and stop when their reader is gone."""

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        request, response = self.create_request(scope, body)
        try:
            if request is not None:
                work = copy_context().run
                response = await asyncio.get_running_loop().run_in_executor(
                    self._threads, work, self._answer, scope, request
                )
            assert response is not None
            try:
                await self._deliver(response, receive, send)
            finally:
                response.close()
        finally:
            body.close()

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
