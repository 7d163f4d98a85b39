"""Embedded servers: they answer, to their password only, from this machine only, as nobody, and leave nothing."""

import os
import pwd
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stillroom.local.postgres import Postgres
from stillroom.local.privileges import service_account
from stillroom.local.processes import end, identify, spawn, wait_until
from stillroom.local.services import Services, make_postgres, server_env, start_services, temporary_root
from stillroom.local.state import Secrets

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with start_services(fast=True) as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder that `nobody` can enter; pytest's own is closed to other accounts."""
    with tempfile.TemporaryDirectory(prefix="stillroom-test-", dir=temporary_root(service_account())) as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


@pytest.fixture
def cluster(folder: Path) -> Postgres:
    return make_postgres(folder, service_account(), password="p'ass word", fast=True)


def test_both_servers_answer(services: Services) -> None:
    with psycopg.connect(services.database_url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_encoding'), current_setting('is_superuser'), datcollate "
            "FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row == ("UTF8", "on", "C.UTF-8")
    client = redis.Redis.from_url(services.redis_url)
    assert client.ping()
    assert client.config_get("save") == {"save": ""}


def test_both_servers_want_their_password(services: Services) -> None:
    parts = urlsplit(services.database_url)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=parts.hostname, port=parts.port, user=parts.username, password="guess", dbname="postgres")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=urlsplit(services.redis_url).port or 0, retry=Retry(NoBackoff(), 0)).ping()


def test_both_servers_listen_on_loopback_only(services: Services) -> None:
    ports = {urlsplit(services.database_url).port, urlsplit(services.redis_url).port}
    listening = [
        connection.laddr
        for child in psutil.Process().children(recursive=True)
        for connection in child.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports
    ]
    assert {address.port for address in listening} == ports
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_no_password_is_on_a_command_line(services: Services) -> None:
    secrets = {urlsplit(url).password for url in (services.database_url, services.redis_url)}
    for child in psutil.Process().children(recursive=True):
        assert not any(secret and secret in " ".join(child.cmdline()) for secret in secrets)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
def test_root_starts_them_as_nobody_with_no_groups(services: Services) -> None:
    nobody = pwd.getpwnam("nobody")
    ports = {urlsplit(services.database_url).port, urlsplit(services.redis_url).port}
    servers = [
        child
        for child in psutil.Process().children()
        if any(connection.laddr.port in ports for connection in child.net_connections("inet"))
    ]
    assert len(servers) == 2
    for server in servers:
        assert set(server.uids()) == {nobody.pw_uid}
        assert set(server.gids()) == {nobody.pw_gid}
        groups = next(
            line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith("Groups:")
        )
        assert groups.split()[1:] == []


def test_nothing_is_left_after_the_block() -> None:
    with start_services(fast=True) as running:
        port = urlsplit(running.database_url).port
        mine = [
            child
            for child in psutil.Process().children()
            if any(connection.laddr.port == port for connection in child.net_connections("inet"))
        ]
        folders = [Path(child.cwd()) for child in mine]
    assert mine
    assert not any(child.is_running() for child in mine)
    assert not any(folder.exists() for folder in folders)


def test_a_home_keeps_its_data_and_its_passwords(folder: Path) -> None:
    with start_services(folder, fast=True) as first, psycopg.connect(first.database_url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    with start_services(folder, fast=True) as second, psycopg.connect(second.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert urlsplit(first.database_url).password == urlsplit(second.database_url).password
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600
    assert Secrets.kept_in(folder).postgres_password == urlsplit(first.database_url).password


def test_a_server_still_running_on_the_cluster_is_ended(cluster: Postgres) -> None:
    env = server_env()
    assert cluster.prepare(env)
    with (cluster.folder / "log").open("wb") as log:
        child = spawn(cluster.process(env), log)
    assert wait_until(cluster.ready, DEADLINE_S)
    running = identify(child.pid)
    assert running is not None
    assert not cluster.prepare(env), "the cluster is not new"
    assert not running.alive()
    assert not (cluster.data / "postmaster.pid").exists()
    child.wait(DEADLINE_S)


def test_a_pid_file_that_names_a_stranger_is_removed(cluster: Postgres) -> None:
    env = server_env()
    cluster.prepare(env)
    with (cluster.folder / "log").open("wb") as log:
        child = spawn(cluster.process(env), log)
        assert wait_until(cluster.ready, DEADLINE_S)
        os.kill(child.pid, signal.SIGKILL)
        child.wait(DEADLINE_S)
        stale = (cluster.data / "postmaster.pid").read_text()
        (cluster.data / "postmaster.pid").write_text(stale.replace(str(child.pid), str(os.getpid()), 1))
        cluster.prepare(env)
        again = spawn(cluster.process(env), log)
    assert wait_until(cluster.ready, DEADLINE_S), (cluster.folder / "log").read_text()
    end(again, cluster.process(env))
    assert again.returncode == 0


def test_a_broken_initdb_leaves_no_half_cluster(cluster: Postgres) -> None:
    env = server_env()
    partial = cluster.folder / "data.partial"
    partial.mkdir()
    (partial / "PG_VERSION").write_text("18")
    assert cluster.prepare(env)
    assert not partial.exists()
    assert not (cluster.folder / "pwfile").exists()
