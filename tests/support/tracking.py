"""MLflow's own client in front of a running web process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from mlflow.exceptions import MlflowException

from support.cast import Cast


@dataclass(frozen=True)
class Server:
    """The address of the web process, and the people of the cast."""

    url: str
    cast: Cast

    def client(self, person: str = "mel", prefix: str = "") -> Any:
        """MLflow's client as that person."""
        from mlflow import MlflowClient

        use(self, person)
        return MlflowClient(tracking_uri=self.url + prefix)

    def token(self, person: str = "mel") -> str:
        return str(getattr(self.cast, person).http.token)

    def call(self, method: str, path: str, *, person: str | None = "mel", **options: Any) -> httpx.Response:
        """A raw request; `path` begins behind /api/2.0/."""
        headers = dict(options.pop("headers", {}))
        if person is not None:
            headers.setdefault("Authorization", f"Bearer {self.token(person)}")
        return httpx.request(method, f"{self.url}/api/2.0/{path}", headers=headers, timeout=60, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.call("POST", f"mlflow/{path}", json=body, **options)

    def get(self, endpoint: str, **query: Any) -> httpx.Response:
        return self.call("GET", f"mlflow/{endpoint}", params=query)


def use(server: Server, person: str) -> None:
    """Let MLflow's library in this process speak as that person."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        os.environ.pop(name, None)
    os.environ["MLFLOW_TRACKING_URI"] = server.url
    os.environ["MLFLOW_TRACKING_TOKEN"] = server.token(person)


def refused(code: str, work: Any) -> str:
    """The message of what `work` raises, when it is that error."""
    with pytest.raises(MlflowException) as caught:
        work()
    assert caught.value.error_code == code, str(caught.value)
    return str(caught.value)
