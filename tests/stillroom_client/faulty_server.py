"""A real HTTP server on a real socket that answers as a test tells it to, and misbehaves on demand.

It stands for a network and a proxy between us and the platform, not for the platform.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What to send back. `cut_at`: close the connection after so many bytes of the body. `reset`: answer with a TCP
    reset.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    reset: bool = False


def reply(data: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON answer; underscores in header names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(data).encode(), {"Content-Type": "application/json", **named})


def refuse(status: int, code: str, **extra: Any) -> Answer:
    """An error in the platform's form."""
    return reply({"code": code, "message": f"{code} happened.", "fields": {}, "request_id": "q1", **extra}, status)


RESET = Answer(reset=True)


class FaultyServer:
    """`answers` are given in order; when they are used up, `otherwise` decides."""

    def __init__(self, *answers: Answer, otherwise: Callable[[Asked], Answer] | None = None) -> None:
        self.answers = list(answers)
        self.otherwise = otherwise or (lambda asked: reply({}))
        self.asked: list[Asked] = []
        self.changed = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                server._handle(self)

            do_GET = do_POST = do_PUT = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Asked]:
        """The requests so far, when there are at least so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= count, timeout_s), (
                f"only {len(self.asked)} requests"
            )
            return list(self.asked)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        asked = Asked(handler.command, handler.path, dict(handler.headers.items()), _body(handler))
        with self.changed:
            self.asked.append(asked)
            answer = self.answers.pop(0) if self.answers else self.otherwise(asked)
            self.changed.notify_all()
        if answer.reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body[: answer.cut_at])
        if answer.cut_at is not None:
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") == "chunked":
        blocks = []
        while size := int(handler.rfile.readline(), 16):
            blocks.append(handler.rfile.read(size))
            handler.rfile.readline()
        return b"".join(blocks)
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


@contextmanager
def serving(*answers: Answer, otherwise: Callable[[Asked], Answer] | None = None) -> Iterator[FaultyServer]:
    """A running server for the length of a `with`."""
    server = FaultyServer(*answers, otherwise=otherwise)
    server._thread.start()
    try:
        yield server
    finally:
        server._http.shutdown()
        server._http.server_close()
