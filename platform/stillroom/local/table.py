"""The process table: what runs on one machine, in which order, with which environment, and how it stops."""

import http.client
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stillroom.config.env import ROLES, role_url
from stillroom.local.processes import Process

# Never passed on by accident: each row is given the ones it needs.
_OURS = frozenset(
    {
        "DATABASE_URL",
        "DATABASE_APP_URL",
        "DATABASE_SCHED_URL",
        "DATABASE_ADMIN_URL",
        "REDIS_URL",
        "STILLROOM_SECRET_KEY",
        "STILLROOM_NODE_TOKEN",
        "STILLROOM_NODE_TOKEN_FILE",
    }
)
_ANSWER_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Everything the table is made from."""

    repository: Path
    home: Path
    port: int
    public_url: str
    secret_key: str
    database_url: str
    redis_url: str
    node_token: Path
    environ: Mapping[str, str]

    @property
    def local_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def plain_env(self) -> dict[str, str]:
        """The person's environment without anything secret of ours."""
        env = {name: value for name, value in self.environ.items() if name not in _OURS}
        return env | {"STILLROOM_HOME": str(self.home), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "FORCE_COLOR": "0"}

    def server_env(self) -> dict[str, str]:
        """For processes of the platform: roles that own nothing, never the owner."""
        env = self.plain_env()
        for role in ROLES:
            env[f"DATABASE_{role.removeprefix('stillroom_').upper()}_URL"] = role_url(
                self.database_url, role, self.secret_key
            )
        return env | {
            "DJANGO_SETTINGS_MODULE": "stillroom.config.settings",
            "REDIS_URL": self.redis_url,
            "STILLROOM_SECRET_KEY": self.secret_key,
            "STILLROOM_PUBLIC_URL": self.public_url,
            "STILLROOM_PORT": str(self.port),
        }

    def owner_env(self) -> dict[str, str]:
        """For provisioning only."""
        return self.server_env() | {"DATABASE_URL": self.database_url}

    def node_env(self) -> dict[str, str]:
        """For the node: it has its token and no way into the database."""
        return self.plain_env() | {
            "REDIS_URL": self.redis_url,
            "STILLROOM_URL": self.local_url,
            "STILLROOM_NODE_TOKEN_FILE": str(self.node_token),
        }


def frontend_row(installation: Installation) -> Process:
    """Builds the web page."""
    return Process(
        name="frontend",
        argv=(sys.executable, "-m", "stillroom.local.frontend", "build"),
        env=installation.plain_env(),
        cwd=installation.repository,
        once=True,
        umask=0o022,
    )


def provision_row(installation: Installation, after: tuple[str, ...], finished: Callable[[bytes], None]) -> Process:
    """Makes roles, tables and grants."""
    return _once("provision", installation, ("provision",), installation.owner_env(), after, finished)


def demo_row(installation: Installation, after: tuple[str, ...], finished: Callable[[bytes], None]) -> Process:
    """Makes the demo organisation and launches its first runs."""
    env = installation.server_env()
    return _once("demo", installation, ("demo", "--json"), env, after, finished, essential=False)


def token_row(installation: Installation, after: tuple[str, ...], finished: Callable[[bytes], None]) -> Process:
    """Makes a node for this machine, or a new token for it: asked for only when we have none."""
    env = installation.server_env()
    return _once("node-token", installation, ("node", "local", "--renew"), env, after, finished, essential=False)


def platform_rows(installation: Installation, after: tuple[str, ...]) -> list[Process]:
    """The long-running processes of the platform. The page comes first, so that it has the cores to itself."""
    env, repository = installation.server_env(), installation.repository
    uvicorn = ("uvicorn", "stillroom.config.asgi:application", "--host", "127.0.0.1", "--port", str(installation.port))
    limits = ("--no-access-log", "--ws-max-size", "65536", "--timeout-graceful-shutdown", "5")
    return [
        Process(
            name="web",
            argv=(sys.executable, "-m", *uvicorn, *limits),
            env=env,
            cwd=repository,
            after=after,
            ready=lambda: answers(installation.port, "/readyz"),
            stop_timeout_s=10.0,
        ),
        Process(
            name="scheduler",
            argv=(sys.executable, "manage.py", "scheduler"),
            env=env,
            cwd=repository,
            after=("web",),
            settle_s=0.5,
        ),
        Process(
            name="notifier",
            argv=(sys.executable, "manage.py", "notifier"),
            env=env,
            cwd=repository,
            after=("scheduler",),
            essential=False,
            settle_s=0.5,
        ),
    ]


def node_row(installation: Installation, after: tuple[str, ...]) -> Process:
    """The node of this machine. It may be lost without taking the platform along."""
    return Process(
        name="node",
        argv=(sys.executable, "-m", "workers"),
        env=installation.node_env(),
        cwd=installation.repository,
        after=("web", *after),
        essential=False,
        stop_timeout_s=45.0,  # longer than the grace time in which runs write their last checkpoint
    )


def answers(port: int, path: str) -> bool:
    """Whether the web process answers 200 there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _once(
    name: str,
    installation: Installation,
    arguments: tuple[str, ...],
    env: dict[str, str],
    after: tuple[str, ...],
    finished: Callable[[bytes], None] | None = None,
    *,
    essential: bool = True,
) -> Process:
    return Process(
        name=name,
        argv=(sys.executable, os.fspath(installation.repository / "manage.py"), *arguments),
        env=env,
        cwd=installation.repository,
        after=after,
        once=True,
        finished=finished,
        essential=essential,
    )
