"""A real web process in front of the test's database, and MLflow's own client in front of that."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from stillroom.local.ports import free_port
from support.platform import until

if TYPE_CHECKING:
    from support.cast import Cast
    from support.tracking import Server

ROOT = Path(__file__).resolve().parents[3]
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


@pytest.fixture(scope="session")
def web() -> Iterator[str]:
    """The web process of this test session."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "stillroom.config.asgi:application",
        "--port",
        str(port),
        "--lifespan",
        "off",
    ]
    process = subprocess.Popen([*command, "--log-level", "warning"], cwd=ROOT, env={**os.environ})
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(url), what="the web process", patience_s=60)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).text == "OK"
    except httpx.HTTPError:
        return False


@pytest.fixture
def server(web: str, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The web process with a fresh cast behind it."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    from support.tracking import Server

    yield Server(web, cast)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"):
        os.environ.pop(name, None)
