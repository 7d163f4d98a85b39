"""Embedded Valkey: loopback only, with a password, nothing kept on disk (the truth is in PostgreSQL)."""

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from stillroom.local.privileges import Account
from stillroom.local.processes import Process

_ANSWER_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """One server on 127.0.0.1. `folder` is its working folder; nothing is written there."""

    server: Path
    folder: Path
    port: int
    password: str
    account: Account | None

    @property
    def url(self) -> str:
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{self.port}/0"

    def process(self, env: dict[str, str]) -> Process:
        """The configuration goes in through standard input: a command line can be read by every account."""
        settings = (
            "bind 127.0.0.1",
            f"port {self.port}",
            f'requirepass "{self.password}"',
            f'dir "{self.folder}"',
            'save ""',
            "appendonly no",
            "daemonize no",
            "protected-mode yes",
            "tcp-keepalive 60",
        )
        return Process(
            name="valkey",
            argv=(str(self.server), "-"),
            env=env,
            cwd=self.folder,
            account=self.account,
            stdin="\n".join(settings).encode() + b"\n",
            ready=self.ready,
            ready_timeout_s=20.0,
        )

    def ready(self) -> bool:
        """Whether the server answers to our password."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), _ANSWER_TIMEOUT_S) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\n") < 2:
                    received = connection.recv(256)
                    if not received:
                        return False
                    answer += received
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"
