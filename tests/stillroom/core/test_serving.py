"""The HTTP application behind ASGI: bodies in and out, errors, a reader that goes away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from stillroom.core.serving import THREADS, Intake, PooledHandler

pulled: list[int] = []


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body[::-1], headers={"X-Method": request.method or ""})


def crash(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


def endless(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            pulled.append(1)
            yield b"x" * 10
            await asyncio.sleep(0)

    return StreamingHttpResponse(pieces())


held, entered = threading.Event(), threading.Semaphore(0)


def slow(request: HttpRequest) -> HttpResponse:
    entered.release()
    held.wait(timeout=20)
    return HttpResponse("late")


urlpatterns = [
    path("echo", echo),
    path("crash", crash),
    path("endless", endless),
    path("slow", slow),
    path("healthz", echo),
]


@pytest.fixture
def handler() -> Any:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=["stillroom.core.http.RequestIdMiddleware"]):
        yield PooledHandler()


def ask(
    handler: PooledHandler,
    address: str,
    *parts: bytes,
    leave_after: int | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> tuple[int, bytes]:
    """Status and body; the reader leaves after so many pieces of it."""
    sent: list[dict[str, Any]] = []

    async def conversation() -> None:
        gone = asyncio.Event()
        incoming = [
            {"type": "http.request", "body": part, "more_body": index < len(parts) - 1}
            for index, part in enumerate(parts)
        ] or [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if incoming:
                return incoming.pop(0)
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if leave_after is not None and len(sent) > leave_after:
                gone.set()

        scope = {
            "type": "http", "method": "POST", "path": f"/{address}", "headers": [(b"host", b"testserver"), *headers],
            "query_string": b"", "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        await handler(scope, receive, send)

    asyncio.run(conversation())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_a_body_in_pieces_comes_whole(handler: PooledHandler) -> None:
    assert ask(handler, "echo", b"ab", b"cd") == (200, b"dcba")
    assert ask(handler, "echo") == (200, b"")


@pytest.fixture
def guarded() -> Any:
    asked.clear()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=["stillroom.core.http.RequestIdMiddleware"]):
        yield PooledHandler(Intake(anybody=4, known_callers=8, known=_remember))


asked: list[str] = []


def _remember(headers: Mapping[str, str]) -> bool:
    asked.append(headers["host"])
    return headers.get("authorization") == "yes"


def test_a_large_body_is_read_only_from_somebody_who_is_known(guarded: PooledHandler) -> None:
    known = ((b"Authorization", b"yes"),)
    assert ask(guarded, "echo", b"1234") == (200, b"4321")
    assert asked == []
    assert ask(guarded, "echo", b"123", b"45", headers=known) == (200, b"54321")
    status, body = ask(guarded, "echo", b"123", b"45", b"67")
    assert (status, orjson.loads(body)["code"]) == (401, "auth.required")
    assert asked == ["testserver", "testserver"]
    status, body = ask(guarded, "echo", b"12345", b"6789", headers=known)
    assert (status, orjson.loads(body)["code"]) == (413, "too_large")


def test_an_announced_size_is_refused_before_a_byte_is_read(guarded: PooledHandler) -> None:
    for size in (b"5", b"9" * 30):
        status, _ = ask(guarded, "echo", b"1", b"2", headers=((b"content-length", size),))
        assert status == (401 if size == b"5" else 413)


def test_a_crash_is_an_answer(handler: PooledHandler) -> None:
    assert ask(handler, "crash")[0] == 500
    assert ask(handler, "echo", b"z") == (200, b"z")


def test_a_stream_ends_when_its_reader_goes(handler: PooledHandler) -> None:
    pulled.clear()
    status, body = ask(handler, "endless", leave_after=5)
    assert status == 200
    assert len(body) >= 40
    assert len(pulled) < 1000


def test_the_running_platform_is_served_by_it() -> None:
    from stillroom.config.asgi import application

    assert isinstance(application.application_mapping["http"], PooledHandler)
    assert orjson.loads(ask(application.application_mapping["http"], "api/2.0/nothing")[1])["error_code"]


def test_a_probe_is_answered_while_every_thread_waits(handler: PooledHandler) -> None:
    held.clear()
    waiting = [threading.Thread(target=ask, args=(handler, "slow", b"")) for _ in range(THREADS)]
    try:
        for thread in waiting:
            thread.start()
        for _ in waiting:
            assert entered.acquire(timeout=20)
        assert ask(handler, "healthz", b"ok") == (200, b"ko")
        assert all(thread.is_alive() for thread in waiting)
    finally:
        held.set()
        for thread in waiting:
            thread.join(timeout=20)
