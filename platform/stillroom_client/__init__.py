"""Stillroom from Python: log runs of your own, submit runs, follow them, read their metrics.

    import stillroom_client as stillroom

    with stillroom.init("demo/first", name="my loop", config={"lr": 0.1}) as run:
        for step in range(100):
            run.log({"loss": 1.0 / (1 + step)}, step=step)

    client = stillroom.Client()  # STILLROOM_URL and STILLROOM_TOKEN, or what `stillroom login` stored
    made = client.submit("demo/first", "optimizer_benchmark", {"steps": 300}, seed=1)
    print(client.wait(made["id"])["state"])

Depends on httpx and msgpack only; needs Python 3.9 on Linux or macOS.
"""

from __future__ import annotations

from stillroom_client.client import Client, WaitTimeout
from stillroom_client.errors import ApiError, ConnectionFailed, NotSignedIn, StillroomError
from stillroom_client.run import Run
from stillroom_client.start import init
from stillroom_client.values import BadValue

__all__ = [
    "ApiError",
    "BadValue",
    "Client",
    "ConnectionFailed",
    "NotSignedIn",
    "Run",
    "StillroomError",
    "WaitTimeout",
    "init",
]
