"""A viewer of `/ws/live` that keeps the client's model and complains about every gap and repetition."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from asgiref.testing import ApplicationCommunicator

from stillroom.core.frames import decode_frame

PATIENCE_S = 20.0


@dataclass
class Model:
    """What a viewer knows of a run: position, points by key in order, log numbers, and how it came to know it."""

    epoch: int = -1
    seq: int = -1
    points: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    logs: list[int] = field(default_factory=list)
    snapshots: int = 0
    frames: list[tuple[int, int, int]] = field(default_factory=list)

    def apply(self, frame: bytes) -> None:
        """Apply one frame; a gap or a repetition is an AssertionError."""
        header, values = decode_frame(frame)
        self.frames.append((header["epoch"], header["from"], header["to"]))
        if header["type"] == "snapshot":
            self.snapshots += 1
            self.points.clear()
            self.logs.clear()
        else:
            assert header["epoch"] == self.epoch, f"delta of epoch {header['epoch']} in {self.epoch}"
            assert header["from"] == self.seq + 1, f"after {self.seq} came {header['from']}"
        self.epoch, self.seq = header["epoch"], header["to"]
        at = 0
        for series in header["series"]:
            n = series["n"]
            steps, column = values[at : at + n], values[at + n : at + 2 * n]
            at += 3 * n
            self.points[series["key"]] += list(zip(steps.tolist(), column.tolist(), strict=True))
        self.logs += [line["n"] for line in header["logs"]]


@dataclass
class Viewer:
    """An open socket."""

    socket: ApplicationCommunicator
    model: Model = field(default_factory=Model)
    notices: list[dict[str, Any]] = field(default_factory=list)

    async def say(self, **message: Any) -> None:
        await self.say_text(orjson.dumps(message).decode())

    async def say_text(self, text: str) -> None:
        await self.socket.send_input({"type": "websocket.receive", "text": text})

    async def closed(self) -> int:
        """The code with which the server closes."""
        message = await self.socket.receive_output(timeout=PATIENCE_S)
        assert message["type"] == "websocket.close", message
        return int(message["code"])

    async def hear(self) -> dict[str, Any] | bytes:
        """The next message, already applied when it is a frame."""
        message = await self.socket.receive_output(timeout=PATIENCE_S)
        assert message["type"] == "websocket.send", message
        data: bytes | None = message.get("bytes")
        if data is not None:
            self.model.apply(data)
            return data
        notice: dict[str, Any] = orjson.loads(message["text"])
        self.notices.append(notice)
        return notice

    async def until(self, seq: int, epoch: int | None = None) -> Model:
        """Listen until the model has come to `seq`."""
        async with asyncio.timeout(PATIENCE_S):
            while self.model.seq < seq or (epoch is not None and self.model.epoch < epoch):
                await self.hear()
        return self.model

    async def notice(self, kind: str) -> dict[str, Any]:
        """Listen until a notice of that kind comes."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                heard = await self.hear()
                if isinstance(heard, dict) and heard["type"] == kind:
                    return heard


@asynccontextmanager
async def viewer(token: str = "", headers: dict[str, str] | None = None) -> AsyncIterator[Viewer]:
    """A socket opened with a token, or with other headers."""
    from stillroom.config.asgi import application

    sent = {"Authorization": f"Bearer {token}", **(headers or {})} if token else (headers or {})
    raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "websocket", "path": "/ws/live", "query_string": b"", "headers": raw, "subprotocols": []}
    socket = ApplicationCommunicator(application, scope)
    await socket.send_input({"type": "websocket.connect"})
    accepted = await socket.receive_output(timeout=PATIENCE_S)
    assert accepted["type"] == "websocket.accept"
    try:
        yield Viewer(socket)
    finally:
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait(timeout=PATIENCE_S)
