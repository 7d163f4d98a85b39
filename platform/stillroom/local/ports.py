"""Free TCP ports on the loopback address."""

import socket

from stillroom.local.errors import LocalError

LOOPBACK = "127.0.0.1"
_TRIED_IN_A_ROW = 100


def free_port(preferred: int | None = None) -> int:
    """Returns `preferred` when it is free, else a port that the kernel picks."""
    if preferred is not None and is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def next_free_port(first: int) -> int:
    """Returns the first free port from `first` on."""
    for port in range(first, min(first + _TRIED_IN_A_ROW, 65536)):
        if is_free(port):
            return port
    raise LocalError(f"No free port from {first} on. Name one with STILLROOM_PORT or --port.")


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now; connections that are only timing out do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
        return True
