"""PostgreSQL and Valkey without the rest of the platform: what the tests and the benchmarks start."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from stillroom.local.binaries import (
    find_postgres,
    find_valkey,
    place_postgres,
    place_valkey,
)
from stillroom.local.errors import LocalError
from stillroom.local.logs import log_file, tail
from stillroom.local.ports import free_port
from stillroom.local.postgres import Postgres
from stillroom.local.privileges import Account, enterable, hand_over, service_account
from stillroom.local.processes import Process, end, spawn, wait_until
from stillroom.local.state import Secrets
from stillroom.local.valkey import Valkey

_PASSED_ON = ("PATH", "TZ")


@dataclass(frozen=True, slots=True)
class Services:
    """Addresses of running servers. `database_url` connects as the superuser."""

    database_url: str
    redis_url: str


@contextmanager
def start_services(home: Path | None = None, *, fast: bool = False) -> Iterator[Services]:
    """Starts both servers, and ends them with the block or, at the latest, with this process.

    Without `home` a temporary folder is used and removed. `fast` gives up durability. `DATABASE_URL` and `REDIS_URL`
    are not looked at: whoever asks for servers here gets their own.
    """
    account = service_account()
    with ExitStack() as stack:
        if home is None:
            folder = Path(tempfile.mkdtemp(prefix="stillroom-", dir=temporary_root(account)))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.chmod(0o711)
        else:
            folder = service_folder(home, account)
        env = server_env()
        kept = Secrets.kept_in(folder)
        valkey = make_valkey(folder, account, password=kept.valkey_password)
        postgres = make_postgres(folder, account, password=kept.postgres_password, fast=fast)
        valkey_answers = _start(stack, valkey.process(env), folder)
        postgres.prepare(env)
        postgres_answers = _start(stack, postgres.process(env), folder)
        valkey_answers()
        postgres_answers()
        yield Services(database_url=postgres.url, redis_url=valkey.url)


def make_postgres(
    folder: Path, account: Account | None, *, password: str, fast: bool = False, port: int | None = None
) -> Postgres:
    """Describes the cluster below `folder`, on `port` when that is free."""
    target = folder / "postgres"
    target.mkdir(parents=True, exist_ok=True)
    return Postgres(
        binaries=place_postgres(find_postgres(), folder / "postgres-programs", account),
        folder=target,
        port=free_port(port),
        password=password,
        account=account,
        fast=fast,
    )


def make_valkey(folder: Path, account: Account | None, *, password: str, port: int | None = None) -> Valkey:
    """Describes the server that works below `folder`, on `port` when that is free."""
    target = folder / "valkey"
    target.mkdir(parents=True, exist_ok=True)
    hand_over(target, account)
    return Valkey(
        server=place_valkey(find_valkey(), folder / "valkey-programs", account),
        folder=target,
        port=free_port(port),
        password=password,
        account=account,
    )


def service_folder(home: Path, account: Account | None) -> Path:
    """Returns where the servers keep their files: `home`, or another folder when `account` cannot reach that."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if account is None:
        return home
    home.chmod(0o711)
    if enterable(home, account):
        return home
    name = sha256(str(home.resolve()).encode()).hexdigest()[:12]
    folder = Path("/var/lib/stillroom") / name
    folder.mkdir(parents=True, exist_ok=True)
    for part in (folder.parent, folder):
        part.chmod(0o711)
    if not enterable(folder, account):
        raise LocalError(f"The account {account.name} can reach neither {home} nor {folder}. Set STILLROOM_HOME.")
    return folder


def temporary_root(account: Account | None) -> Path:
    """Returns a folder for temporary files in which `account` can reach what it owns."""
    for candidate in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if candidate.is_dir() and (account is None or enterable(candidate, account)):
            return candidate
    raise LocalError("No temporary folder can be reached by the account that runs PostgreSQL. Set TMPDIR.")


def server_env() -> dict[str, str]:
    """The servers get what they need to run and none of our secrets."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"LC_ALL": "C.UTF-8"}


def _start(stack: ExitStack, process: Process, folder: Path) -> Callable[[], None]:
    """Starts one server; the function returned waits until it is ready."""
    log = folder / f"{process.name}.log"
    with log_file(folder, process.name) as output:
        child = spawn(process, output)
    stack.callback(end, child, process)

    def wait() -> None:
        ready = process.ready or (lambda: True)
        answered = wait_until(lambda: child.poll() is not None or ready(), process.ready_timeout_s)
        if not answered or child.poll() is not None:
            raise LocalError(f"{process.name} did not start.\n{tail(log)}", log=str(log))

    return wait
