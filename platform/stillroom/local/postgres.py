"""Embedded PostgreSQL: makes a cluster, starts it on 127.0.0.1, and survives whatever an earlier start left behind."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from stillroom.local.binaries import PostgresBinaries
from stillroom.local.errors import LocalError
from stillroom.local.logs import tail
from stillroom.local.privileges import Account, hand_over
from stillroom.local.processes import Identity, Process, identify, spawn, wait_until

SUPERUSER = "stillroom"
DATABASE = "stillroom"

_READY_LINE = 7  # of postmaster.pid, counted from 0: the status (LOCK_FILE_LINE_PM_STATUS)
_INITDB_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One cluster in `folder`/data. `fast` gives up durability, for tests."""

    binaries: PostgresBinaries
    folder: Path
    port: int
    password: str
    account: Account | None
    fast: bool = False

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        """Connects as the superuser: for provisioning only, the platform's processes get roles that own nothing."""
        return f"postgresql://{SUPERUSER}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self, env: dict[str, str]) -> bool:
        """Makes the cluster unless it exists, and ends a server that still runs on it. Returns whether it is new."""
        if not (self.data / "PG_VERSION").is_file():
            self._initdb(env)
            return True
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != str(self.binaries.major):
            raise LocalError(
                f"{self.data} was made by PostgreSQL {made_by}, but {self.binaries.folder} has version "
                f"{self.binaries.major}. Install version {made_by} or move the folder away."
            )
        self._clear_leftovers()
        return False

    def process(self, env: dict[str, str]) -> Process:
        """SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (the next start recovers from the log)."""
        return Process(
            name="postgres",
            argv=(str(self.binaries.folder / "postgres"), "-D", str(self.data), *self._settings()),
            env=env,
            cwd=self.folder,
            account=self.account,
            ready=self.ready,
            ready_timeout_s=120.0,
            stop_signal=signal.SIGINT,
            stop_timeout_s=30.0,
            last_signal=signal.SIGQUIT,
        )

    def ready(self) -> bool:
        """Whether the server takes connections, by its own word; the platform's database is then made if missing."""
        lines = self._pid_file_lines()
        if len(lines) <= _READY_LINE or lines[_READY_LINE].strip() != "ready":
            return False
        try:
            with psycopg.connect(self._maintenance_url, autocommit=True, connect_timeout=10) as connection:
                if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise LocalError(f"secrets.json does not hold the password of the cluster in {self.data}.") from error
            return False
        return True

    @property
    def _maintenance_url(self) -> str:
        return self.url.rpartition("/")[0] + "/postgres"

    def _settings(self) -> tuple[str, ...]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "effective_cache_size": "1GB",
            "maintenance_work_mem": "64MB",
            "work_mem": "8MB",
            "random_page_cost": "1.1",
            "jit": "off",
            "max_wal_size": "512MB",
            "wal_compression": "on",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            "log_min_duration_statement": "1s",
        }
        if self.fast:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
        return tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))

    def _initdb(self, env: dict[str, str]) -> None:
        """Makes the cluster under another name first: one that exists is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial, secret, log = (self.folder / "data.partial", self.folder / "pwfile", self.folder / "initdb.log")
        shutil.rmtree(partial, ignore_errors=True)
        secret.touch(mode=0o600)
        secret.write_text(self.password + "\n")
        hand_over(self.folder, self.account)
        argv = [str(self.binaries.folder / "initdb"), "-D", str(partial), "-U", SUPERUSER, f"--pwfile={secret}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        if self.fast:
            argv += ["--no-sync", *(["--no-data-checksums"] if self.binaries.major >= 18 else [])]
        else:
            argv += ["--data-checksums"]
        initdb = Process(name="initdb", argv=tuple(argv), env=env, cwd=self.folder, account=self.account)
        try:
            with log.open("wb") as output:
                child = spawn(initdb, output)
                code = child.wait(_INITDB_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            code = -1
        finally:
            secret.unlink()
        if code != 0:
            raise LocalError(f"initdb could not make a cluster in {self.folder}.\n{tail(log)}", log=str(log))
        partial.rename(self.data)

    def _clear_leftovers(self) -> None:
        """Ends servers that still run in the data folder, and removes a pid file that names no such server.

        PostgreSQL itself refuses to start when the pid in that file is alive in any form, a zombie or a stranger too.
        """
        postmaster = next((int(line) for line in self._pid_file_lines()[:1] if line.strip().isdigit()), None)
        running = self._running()
        for identity in running:
            if identity.pid == postmaster:
                os.kill(identity.pid, signal.SIGINT)
        if not wait_until(lambda: not any(identity.alive() for identity in running), 30.0):
            for identity in running:
                if identity.alive():
                    os.kill(identity.pid, signal.SIGQUIT)
            if not wait_until(lambda: not any(identity.alive() for identity in running), 10.0):
                raise LocalError(f"A PostgreSQL server still runs in {self.data} and does not stop.")
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _running(self) -> list[Identity]:
        """The processes of a server on this cluster: they work in its data folder and run a `postgres` program."""
        found = []
        for pid in psutil.pids():
            try:
                process = psutil.Process(pid)
                matches = process.cwd() == str(self.data.resolve()) and Path(process.exe()).name == "postgres"
            except (psutil.Error, OSError):
                continue
            identity = identify(pid)
            if matches and identity is not None:
                found.append(identity)
        return found

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []
