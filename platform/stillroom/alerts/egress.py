"""Calling an address that a tenant chose, without letting it reach what only we can reach.

The name is resolved once, every address of it is checked, and the connection goes to a checked address while TLS and
the Host header keep the name: a name that answers differently the second time gains nothing. No redirect is followed,
no proxy or credential of ours is used, and time and size are bounded.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

CONNECT_S, TOTAL_S = 5.0, 10.0
MOST_ANSWER_BYTES = 64 * 1024
PORTS = frozenset({443, 8443})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]


class Blocked(Exception):
    """The address may not be called; the message says why."""


class Failed(Exception):
    """The call was made and came to nothing: no connection, no answer in time."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the administrator permits beyond public HTTPS: host names, with or without port, and networks.

    An allowed host may also be plain http and on any port that it is listed with.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @staticmethod
    def parse(entries: Sequence[str]) -> Allowed:
        """From "hooks.internal", "hooks.internal:9000", "10.1.0.0/16". Raises ValueError naming the entry."""
        hosts, networks = set(), []
        for entry in entries:
            if "/" in entry:
                networks.append(ipaddress.ip_network(entry))
            else:
                hosts.add(entry.lower())
        return Allowed(frozenset(hosts), tuple(networks))

    def names(self, host: str, port: int) -> bool:
        return host in self.hosts or f"{host}:{port}" in self.hosts

    def holds(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL whose form is in order. Its addresses are checked when it is called."""

    https: bool
    host: str
    port: int
    path: str
    named: bool


def target_of(url: str, allowed: Allowed) -> Target:
    """Parse and check what can be checked without the network. Raises Blocked."""
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = (parts.hostname or "").rstrip(".").encode("idna").decode().lower()
    except (ValueError, UnicodeError) as error:
        raise Blocked(f"This is not an address: {error}.") from None
    if parts.scheme not in ("https", "http") or not host:
        raise Blocked("An address begins with https://.")
    if parts.username is not None or parts.password is not None:
        raise Blocked("An address holds no user name and no password.")
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise Blocked("An address holds no spaces and no control characters.")
    named = allowed.names(host, port)
    if parts.scheme == "http" and not named:
        raise Blocked("An address begins with https://; plain http is for hosts that the administrator allows.")
    if port not in PORTS and not named:
        raise Blocked(f"Port {port} is not one of {', '.join(map(str, sorted(PORTS)))}.")
    literal = _literal(host)
    if literal is not None:
        check_address(literal, named or allowed.holds(literal))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", host, port, path.encode("ascii", "replace").decode(), named)


def check_address(address: Address, permitted: bool) -> None:
    """Raise Blocked for an address that is not public, also when it is written inside another one."""
    for inner in (address, *_inside(address)):
        if permitted:
            continue
        if not inner.is_global or inner.is_multicast or inner.is_reserved or inner.is_unspecified:
            raise Blocked(f"{address} is not a public address.")


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the system knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def call(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed: Allowed,
    resolve: Resolve = resolve,
    context: ssl.SSLContext | None = None,
    total_s: float = TOTAL_S,
) -> int:
    """POST and give the status. Raises Blocked before anything is sent, Failed otherwise."""
    target = target_of(url, allowed)
    address = _checked_address(target, allowed, resolve)
    connection = _Pinned(target, address, context or ssl.create_default_context())
    watch = threading.Timer(total_s, connection.abort)
    watch.daemon = True
    watch.start()
    try:
        connection.request("POST", target.path, body=body, headers={**headers, "Connection": "close"})
        answer = connection.getresponse()
        answer.read(MOST_ANSWER_BYTES)
        if connection.aborted:
            raise TimeoutError(f"no whole answer within {total_s:g} s")
        return answer.status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failed(f"{type(error).__name__}: {error}"[:300]) from None
    finally:
        watch.cancel()
        connection.close()


def _checked_address(target: Target, allowed: Allowed, resolve: Resolve) -> str:
    try:
        found = [ipaddress.ip_address(text.partition("%")[0]) for text in resolve(target.host, target.port)]
    except (OSError, UnicodeError, ValueError) as error:
        raise Failed(f"{target.host} cannot be resolved: {error}.") from None
    if not found:
        raise Failed(f"{target.host} has no address.")
    for address in found:  # one bad address spoils the name: a public one beside it is how rebinding begins
        check_address(address, target.named or allowed.holds(address))
    return str(found[0])


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever the name says by now."""

    def __init__(self, target: Target, address: str, context: ssl.SSLContext) -> None:
        super().__init__(target.host, target.port, timeout=CONNECT_S)
        self._target, self._address, self._context = target, address, context
        self.aborted = False
        if target.https:
            self.default_port = 443  # so that the Host header leaves the usual port out

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self._target.port), timeout=CONNECT_S)
        if self._target.https:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self._target.host)

    def abort(self) -> None:
        """End it from another thread: time is up."""
        self.aborted = True
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _inside(address: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 address carries."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [one for one in (address.ipv4_mapped, address.sixtofour) if one is not None]
    if address.teredo is not None:
        found += address.teredo
    return found
