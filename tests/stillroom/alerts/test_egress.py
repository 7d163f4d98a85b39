"""What a tenant's webhook may reach: only what everybody can reach, whatever its name says at the second look."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stillroom.alerts.egress import Allowed, Blocked, Failed, call, check_address, target_of

NONE = Allowed()
LOCAL = Allowed.parse(["hooks.test"])


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@example.org/",
        "https://example.org:22/",
        "https://example.org:5432/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/",
        "https://0.0.0.0/",
        "https://example.org/a b",
        "https://example.org/\r\nHost: x",
        "https://example.org:99999/",
        "gopher://example.org",
    ],
)
def test_addresses_that_are_refused_before_anything_is_looked_up(url: str) -> None:
    with pytest.raises(Blocked):
        target_of(url, NONE)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2001:db8::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(Blocked):
        check_address(ipaddress.ip_address(address), permitted=False)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_pass(address: str) -> None:
    check_address(ipaddress.ip_address(address), permitted=False)


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["fe80::1%eth0"], ["::ffff:192.168.0.1"]]
)
def test_a_name_with_one_private_address_is_not_called_at_all(found: list[str]) -> None:
    with pytest.raises(Blocked):
        call("https://example.org/", b"{}", {}, allowed=NONE, resolve=lambda host, port: found)


def test_a_name_that_cannot_be_resolved_may_be_tried_again() -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror("unknown")

    with pytest.raises(Failed, match=r"example\.org"):
        call("https://example.org/", b"{}", {}, allowed=NONE, resolve=nobody)


@contextmanager
def receiver(answer: Any) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """A server on this machine: its port and the headers of what it got."""
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            got.append(dict(self.headers))
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_the_name_is_resolved_once_and_the_checked_address_is_called() -> None:
    answers = [["127.0.0.1"], ["203.0.113.9"]]
    with receiver(lambda handler: say(handler, 204)) as (port, got):
        allowed = Allowed.parse(["127.0.0.0/8", f"rebind.test:{port}"])
        status = call(f"http://rebind.test:{port}/x", b"{}", {}, allowed=allowed, resolve=lambda *_: answers.pop(0))
    assert (status, len(answers)) == (204, 1)
    assert got[0]["Host"] == f"rebind.test:{port}"


def test_an_allowed_network_still_needs_https_and_an_allowed_name_does_not() -> None:
    target_of("http://hooks.test/", LOCAL)
    target_of("https://hooks.test:9000/", LOCAL)
    with pytest.raises(Blocked):
        target_of("http://other.test/", LOCAL)
    network = Allowed.parse(["10.0.0.0/8"])
    target_of("https://10.1.1.1/", network)
    with pytest.raises(Blocked):
        target_of("http://10.1.1.1/", network)


def test_a_redirect_is_an_answer_and_nothing_more() -> None:
    def away(handler: BaseHTTPRequestHandler) -> None:
        say(handler, 302, Location="http://169.254.169.254/")

    with receiver(away) as (port, got):
        allowed = Allowed.parse([f"127.0.0.1:{port}"])
        assert call(f"http://127.0.0.1:{port}/", b"{}", {}, allowed=allowed) == 302
    assert len(got) == 1


def test_a_receiver_that_never_ends_its_answer_is_left() -> None:
    ended = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not ended.wait(0.02):
            try:
                handler.wfile.write(b"X-More: 1\r\n"[:3])
                handler.wfile.flush()
            except OSError:
                return

    with receiver(drip) as (port, _):
        allowed = Allowed.parse([f"127.0.0.1:{port}"])
        try:
            with pytest.raises(Failed):
                call(f"http://127.0.0.1:{port}/", b"{}", {}, allowed=allowed, total_s=0.3)
        finally:
            ended.set()
