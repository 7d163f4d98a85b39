"""Stillroom from Python: submit runs, follow them, read their metrics, log runs of your own.

    from stillroom_client import Client

    client = Client()  # STILLROOM_URL and STILLROOM_TOKEN, or what `stillroom login` stored
    run = client.submit("demo/first", "optimizer", {"steps": 300}, seed=1)
    print(client.wait(run["id"])["state"])

Depends on httpx and msgpack only.
"""

from __future__ import annotations

from stillroom_client.client import Client, WaitTimeout
from stillroom_client.errors import ApiError, ConnectionFailed, NotSignedIn, StillroomError

__all__ = ["ApiError", "Client", "ConnectionFailed", "NotSignedIn", "StillroomError", "WaitTimeout"]
