"""One PostgreSQL and one Valkey for the whole session; a database of its own for each xdist worker.

The suite connects as the application's roles, never as owner or superuser: those would pass without any isolation.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = "stillroom_template"
# Folders whose tests need no server: running only these starts none.
SERVERLESS = (
    "tests/models_core",
    "tests/golden",
    "tests/conformance/models_core",
    "tests/workers",
    "tests/stillroom_client",
)
_resources = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """The controller starts the servers and prepares a template; each worker copies it before Django reads its
    settings.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None:
        if not _needs_servers(config):
            return
        _start_servers()
    elif "STILLROOM_TEST_SERVERS" not in os.environ:
        return
    name = f"test_{worker['workerid'] if worker else 'main'}"
    _copy_template(name)
    os.environ["DATABASE_URL"] = _database(os.environ["DATABASE_URL"], name)
    os.environ["REDIS_URL"] = _database(os.environ["REDIS_URL"], str(1 + _number(worker)))
    home = Path(os.environ["STILLROOM_HOME"]) / name
    home.mkdir(exist_ok=True)
    os.environ["STILLROOM_HOME"] = str(home)
    os.environ["DJANGO_SETTINGS_MODULE"] = "stillroom.config.settings"
    import django

    django.setup()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Servers end with the session."""
    _resources.close()


def _needs_servers(config: pytest.Config) -> bool:
    chosen = [str(Path(str(arg).split("::")[0]).resolve().relative_to(ROOT)) for arg in config.args]
    return not all(path.startswith(SERVERLESS) for path in chosen)


def _start_servers() -> None:
    from tempfile import TemporaryDirectory

    from stillroom.local.services import start_services

    services = _resources.enter_context(start_services(fast=True))
    home = _resources.enter_context(TemporaryDirectory(prefix="stillroom-test-"))
    os.environ.update(
        STILLROOM_TEST_SERVERS="1",
        STILLROOM_SECRET_KEY=secrets.token_urlsafe(32),
        STILLROOM_HOME=home,
        STILLROOM_LOG_LEVEL="warning",
        STILLROOM_ALLOWED_HOSTS="127.0.0.1,localhost,testserver",
        DATABASE_URL=_database(services.database_url, TEMPLATE),
        REDIS_URL=services.redis_url,
    )
    _execute(services.database_url, f'create database "{TEMPLATE}"')
    provision = subprocess.run(
        [sys.executable, "manage.py", "provision", "--verbosity", "0"], cwd=ROOT, capture_output=True, text=True
    )
    if provision.returncode:
        raise pytest.UsageError(f"manage.py provision failed:\n{provision.stderr}")


def _copy_template(name: str) -> None:
    _execute(_database(os.environ["DATABASE_URL"], "postgres"), f'create database "{name}" template "{TEMPLATE}"')


def _execute(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _database(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def _number(worker: dict[str, str] | None) -> int:
    return int(worker["workerid"].removeprefix("gw")) if worker else 0


@pytest.fixture
def database() -> Iterator[None]:
    """A database whose rows are gone after the test. Everything commits for real."""
    yield
    from support.database import empty

    empty()


@pytest.fixture
def cast(database: None) -> object:
    """The people of the tests; see support.cast."""
    from support.cast import assemble

    return assemble()
