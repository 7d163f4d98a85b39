"""Fills the table of a session: servers, provisioning, the platform's processes, the first node and the demo."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.local.errors import LocalError
from stillroom.local.frontend import needs_build
from stillroom.local.home import Home
from stillroom.local.ports import next_free_port
from stillroom.local.privileges import service_account
from stillroom.local.progress import Progress
from stillroom.local.services import (
    make_postgres,
    make_valkey,
    server_env,
    service_folder,
)
from stillroom.local.session import Session
from stillroom.local.state import Secrets, read_json, write_json, write_private
from stillroom.local.table import (
    Installation,
    demo_row,
    frontend_row,
    node_row,
    platform_rows,
    provision_row,
    token_row,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for. Empty URLs mean embedded servers."""

    repository: Path
    port: int
    demo: bool = True
    node: bool = True
    public_url: str = ""
    secret_key: str = ""
    database_url: str = ""
    redis_url: str = ""


class Launch:
    """The platform on one machine. The caller holds the home's lock."""

    def __init__(self, home: Home, options: Options, progress: Progress) -> None:
        self._home = home
        self._options = options
        self._progress = progress
        self._session = Session(home, progress)
        self._installation: Installation | None = None

    def run(self, ready: Callable[[], None]) -> None:
        """Starts everything, announces it, calls `ready`, and supervises until asked to stop."""

        def announce_ready() -> None:
            self._announce()
            ready()

        self._session.run(self._fill_table, announce_ready)

    def _fill_table(self) -> None:
        options, home = self._options, self._home
        port = self._session.ports["web"] = next_free_port(options.port)
        if port != options.port:
            self._progress.note(f"Port {options.port} is in use; taking {port}.")
        database_url, redis_url, servers = self._add_servers()
        installation = self._installation = Installation(
            repository=options.repository,
            home=home.folder,
            port=port,
            public_url=options.public_url or f"http://127.0.0.1:{port}",
            secret_key=options.secret_key or Secrets.kept_in(home.folder).secret_key,
            database_url=database_url,
            redis_url=redis_url,
            node_token=home.node_token,
            environ=os.environ,
        )
        self._session.url = installation.public_url
        prepared = servers
        if needs_build(options.repository / "frontend"):
            self._session.supervisor.add(frontend_row(installation))
            prepared = (*prepared, "frontend")
        if not self._is_provisioned():
            self._session.supervisor.add(provision_row(installation, servers, self._provisioned))
            servers, prepared = (*servers, "provision"), (*prepared, "provision")
        if options.demo and not home.demo.is_file():
            self._session.supervisor.add(demo_row(installation, servers, self._demo_made))
        for row in platform_rows(installation, prepared):
            self._session.supervisor.add(row)
        if options.node:
            token: tuple[str, ...] = ()
            if not home.node_token.is_file():
                self._session.supervisor.add(token_row(installation, servers, self._token_made))
                token = ("node-token",)
            self._session.supervisor.add(node_row(installation, token))

    def _add_servers(self) -> tuple[str, str, tuple[str, ...]]:
        options, home, env, account = self._options, self._home, server_env(), service_account()
        database_url, redis_url, added = options.database_url, options.redis_url, []
        folder = service_folder(home.folder, account)
        if folder != home.folder:
            self._progress.note(f"{home.folder} is closed to other accounts: the servers' files are in {folder}.")
        kept = Secrets.kept_in(folder)  # beside the cluster whose password it holds
        if not redis_url:
            valkey = make_valkey(
                folder, account, password=kept.valkey_password, port=self._session.earlier.port("valkey")
            )
            self._session.ports["valkey"], redis_url = valkey.port, valkey.url
            self._session.supervisor.add(valkey.process(env))
            added.append("valkey")
        if not database_url:
            postgres = make_postgres(
                folder, account, password=kept.postgres_password, port=self._session.earlier.port("postgres")
            )
            self._session.ports["postgres"], database_url = postgres.port, postgres.url
            if postgres.prepare(env):
                self._forget()
            self._session.supervisor.add(postgres.process(env))
            added.append("postgres")
        identity = options.database_url or "embedded"
        mark = hashlib.sha256(identity.encode()).hexdigest()[:16]
        if read_json(home.marks).get("database", mark) != mark:
            self._forget()
        self._mark(database=mark)
        return database_url, redis_url, tuple(added)

    def _is_provisioned(self) -> bool:
        """Whether the embedded cluster was provisioned by this very code. Real servers are always asked."""
        if self._options.database_url:
            return False
        return read_json(self._home.marks).get("provisioned") == self._code_mark()

    def _code_mark(self) -> str:
        """Changes with the platform's code, the installed packages and the key that passwords come from."""
        digest = hashlib.sha256((self._installation.secret_key if self._installation else "").encode())
        repository = self._options.repository
        for folder, pattern in (("platform/stillroom", "*.py"), ("requirements", "*.txt")):
            for path in sorted((repository / folder).rglob(pattern)):
                status = path.stat()
                digest.update(f"{path} {status.st_mtime_ns} {status.st_size}\n".encode())
        return digest.hexdigest()[:16]

    def _provisioned(self, output: bytes) -> None:
        self._mark(provisioned=self._code_mark())

    def _demo_made(self, output: bytes) -> None:
        try:
            made = json.loads(output)
        except ValueError as error:
            raise LocalError(
                "`manage.py demo --json` did not print JSON.", log=str(self._home.logs / "demo.log")
            ) from error
        write_json(self._home.demo, made)

    def _token_made(self, output: bytes) -> None:
        lines = output.decode().split()
        if not lines:
            raise LocalError("`manage.py node` printed no token.", log=str(self._home.logs / "node-token.log"))
        write_private(self._home.node_token, f"{lines[-1]}\n")

    def _announce(self) -> None:
        demo = read_json(self._home.demo)
        self._progress.note(f"Stillroom is ready at {self._session.url}")
        if self._options.demo and demo:
            self._progress.note(sign_in(demo))

    def _forget(self) -> None:
        """Another database: what was done to the last one does not count."""
        for path in (self._home.marks, self._home.demo, self._home.node_token):
            path.unlink(missing_ok=True)

    def _mark(self, **values: str) -> None:
        write_json(self._home.marks, read_json(self._home.marks) | values)


def sign_in(demo: dict[str, Any]) -> str:
    """What the demo user needs to know. A password that an earlier installation printed is not known here."""
    known = demo.get("password")
    return f"Sign in as {demo.get('email')} with " + (
        f"the password {known}" if known else "the password printed first"
    )
