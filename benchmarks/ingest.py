"""Points per second of server CPU: MLflow's own client logs the same batches here and to `mlflow server`.

Both servers run on one PostgreSQL in the same run, one after the other, with one web process each, so the machine's
load and the database are common to both. The client is the same interpreter with the same bodies (`log_batch` of 1,000
points). Counted is the CPU time of the server's processes (user and system, children too), not of the client; the
database's share is given apart. `mlflow server` needs the whole mlflow package, which this project does not install:
make an environment with `python -m venv DIR && DIR/bin/pip install mlflow==3.17.2 psycopg2-binary` and set
STILLROOM_MLFLOW_ENVIRONMENT=DIR; without it only our own figures are printed.
"""

from __future__ import annotations

import math
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psutil
import psycopg

ROOT = Path(__file__).resolve().parents[1]
BATCH = 1000
# Distinct keys in a batch of 1,000 points: a loop that flushes one curve, a usual trainer, a very wide one.
WIDTHS = {1: 100, 10: 100, 200: 20}
WARM_BATCHES = 3
PEER = "STILLROOM_MLFLOW_ENVIRONMENT"


@dataclass(frozen=True)
class Figure:
    """What a server took for the points of one width."""

    points: int
    server_s: float
    database_s: float
    wall_s: float

    @property
    def rate(self) -> float:
        return self.points / self.server_s


def main() -> None:
    """Measure ours, then the peer where there is one, and print the ratios."""
    from stillroom.local.services import start_services

    with start_services() as services, TemporaryDirectory() as home:
        os.environ.update(
            DATABASE_URL=services.database_url,
            REDIS_URL=services.redis_url,
            STILLROOM_HOME=home,
            STILLROOM_SECRET_KEY=secrets.token_urlsafe(32),
            STILLROOM_LOG_LEVEL="error",
            DJANGO_SETTINGS_MODULE="stillroom.config.settings",
            MLFLOW_DISABLE_TELEMETRY="true",
            GIT_PYTHON_REFRESH="quiet",
        )
        provision = [sys.executable, "manage.py", "provision", "--verbosity", "0"]
        subprocess.run(provision, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        import django

        django.setup()
        with ours() as url:
            mine = measured(url, services.database_url)
        show("stillroom", mine)
        folder = os.environ.get(PEER, "")
        if not (Path(folder) / "bin" / "mlflow").is_file():
            print(f"mlflow server: not measured, {PEER} names no environment with mlflow in it.")
            return
        with peer(Path(folder), services.database_url, Path(home)) as url:
            theirs = measured(url, services.database_url)
        show("mlflow server", theirs)
        for keys in WIDTHS:
            cpu = mine[keys].rate / theirs[keys].rate
            both = (theirs[keys].server_s + theirs[keys].database_s) / (mine[keys].server_s + mine[keys].database_s)
            wall = theirs[keys].wall_s / mine[keys].wall_s
            print(f"{keys:4d} keys: {cpu:.1f} x points per server CPU-second, {both:.1f} x with the database, "
                  f"{wall:.1f} x as fast")  # fmt: skip


@contextmanager
def ours() -> Iterator[str]:
    """Our web process on a free port, and a token for it in the environment."""
    from stillroom.core.tenancy import admin_tx
    from stillroom.local.ports import free_port
    from stillroom.tenants.policies import TokenScope
    from stillroom.tenants.services import organisation_create, token_create

    organisation, user, _ = organisation_create(slug="bench", name="", owner_email="b@example.org", actor="benchmark")
    with admin_tx():
        _, token = token_create(
            tenant_id=organisation.id, user=user, name="benchmark", scopes=[TokenScope.WRITE, TokenScope.READ],
            expires_in_days=1, actor="benchmark",
        )  # fmt: skip
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "stillroom.config.asgi:application", "--port", str(port)]
    with running([*command, "--lifespan", "off", "--log-level", "error"], f"http://127.0.0.1:{port}") as url:
        os.environ["MLFLOW_TRACKING_TOKEN"] = token
        yield url
        os.environ.pop("MLFLOW_TRACKING_TOKEN")


@contextmanager
def peer(folder: Path, database_url: str, home: Path) -> Iterator[str]:
    """`mlflow server` with one worker on a database of its own in the same PostgreSQL."""
    from stillroom.local.ports import free_port

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create database mlflow")
    parts = urlsplit(database_url)
    store = urlunsplit(parts._replace(scheme="postgresql+psycopg2", path="/mlflow"))
    port = free_port()
    command = [str(folder / "bin" / "mlflow"), "server", "--backend-store-uri", store, "--port", str(port)]
    command += ["--workers", "1", "--artifacts-destination", str(home / "mlflow")]
    env = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    with running(command, f"http://127.0.0.1:{port}", **env) as url:
        yield url


@contextmanager
def running(command: list[str], url: str, **env: str) -> Iterator[str]:
    """A server process; its id in SERVER for as long as it lives."""
    kept = {name: value for name, value in os.environ.items() if not (env and name == "PYTHONPATH")}
    process = subprocess.Popen(
        command, cwd=ROOT, env={**kept, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: process.poll() is None and answers(url), f"{command[0]} to answer")
        os.environ["BENCHMARK_SERVER"] = str(process.pid)
        yield url
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    """Whether the server is up."""
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def until(look: Callable[[], bool], what: str) -> None:
    """Wait up to three minutes."""
    deadline = time.monotonic() + 180
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(0.2)


def measured(url: str, database_url: str) -> dict[int, Figure]:
    """Log through the real client; figures by number of keys in a batch."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=url)
    experiment = client.create_experiment("bench")
    figures = {}
    for keys, batches in WIDTHS.items():
        run = client.create_run(experiment).info.run_id
        prepared = [bodies(keys, number) for number in range(batches + WARM_BATCHES)]
        for metrics in prepared[:WARM_BATCHES]:
            client.log_batch(run, metrics=metrics)
        server, database, started = cpu(), database_cpu(database_url), time.perf_counter()
        for metrics in prepared[WARM_BATCHES:]:
            client.log_batch(run, metrics=metrics)
        wall = time.perf_counter() - started
        figures[keys] = Figure(batches * BATCH, cpu() - server, database_cpu(database_url) - database, wall)
        check(client, run, keys, batches + WARM_BATCHES)
    return figures


def bodies(keys: int, number: int) -> list[Any]:
    """Batch `number` of a run: 1,000 points over so many keys, steps and times growing."""
    from mlflow.entities import Metric

    per_key = BATCH // keys
    first = number * per_key
    return [
        Metric(f"metric/{key}", 2 * math.exp(-step / 1e5) + 0.01 * math.sin(step + key), 1_700_000_000_000 + step, step)
        for step in range(first, first + per_key)
        for key in range(keys)
    ]


def check(client: Any, run: str, keys: int, batches: int) -> None:
    """What was logged is there: the last value of a key and the length of its history."""
    steps = batches * (BATCH // keys)
    history = client.get_metric_history(run, "metric/0")
    assert len(history) == steps, (len(history), steps)
    assert max(point.step for point in history) == steps - 1


def cpu() -> float:
    """Seconds of CPU that the server and its children have used."""
    process = psutil.Process(int(os.environ["BENCHMARK_SERVER"]))
    return sum(used(one) for one in [process, *process.children(recursive=True)])


def database_cpu(database_url: str) -> float:
    """Seconds of CPU of PostgreSQL's processes that live; pools keep their backends."""
    postmaster = POSTMASTER.get(database_url) or POSTMASTER.setdefault(database_url, parent_of(database_url))
    return sum(used(one) for one in psutil.Process(postmaster).children(recursive=True))


POSTMASTER: dict[str, int] = {}


def parent_of(database_url: str) -> int:
    """The postmaster: the parent of one of its backends."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("select pg_backend_pid()").fetchone()
        assert row is not None
        return int(psutil.Process(int(row[0])).ppid())


def used(process: psutil.Process) -> float:
    """User and system time; nothing for a process that has gone meanwhile."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def show(name: str, figures: dict[int, Figure]) -> None:
    """One line for each width."""
    for keys, one in figures.items():
        print(
            f"{name}: {keys} keys in a batch: {one.rate:,.0f} points per server CPU-second; "
            f"{one.server_s:.2f} s server, {one.database_s:.2f} s database, "
            f"{one.wall_s:.2f} s in all for {one.points:,} points"
        )


if __name__ == "__main__":
    main()
