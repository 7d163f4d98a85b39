"""A script that follows a run over a real WebSocket, through reconnects, and keeps the positions that it was given."""

from __future__ import annotations

import json
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from support.platform import ENDED, Platform


@dataclass
class Follower(threading.Thread):
    """Follows until the run has ended and its last batch is here. `gaps` and `repetitions` stay empty when all is
    well.
    """

    platform: Platform
    run_id: str
    position: tuple[int, int] | None = None
    gaps: list[str] = field(default_factory=list)
    points: dict[tuple[str, float], float] = field(default_factory=dict)
    connections: int = 0
    state: str = ""
    heard: str = ""
    head: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while self.state not in ENDED or (self.position or (0, 0)) < self.head:
            try:
                self._follow()
            except (OSError, WebSocketException, TimeoutError, httpx.HTTPError):
                continue

    def _follow(self) -> None:
        address = self.platform.url.replace("http", "ws", 1) + "/ws/live"
        headers = {"Authorization": f"Bearer {self.platform.token}"}
        with connect(address, additional_headers=headers, open_timeout=5, max_size=None) as socket:
            self.connections += 1
            self._subscribe(socket)
            while self.state not in ENDED or (self.position or (0, 0)) < self.head:
                message = socket.recv(timeout=15)
                if isinstance(message, bytes):
                    self._apply(message)
                else:
                    self._hear(socket, json.loads(message))

    def _subscribe(self, socket: Any) -> None:
        since = {"epoch": self.position[0], "seq": self.position[1]} if self.position else None
        socket.send(json.dumps({"type": "sub", "run": self.run_id, "since": since, "max_points": 20_000, "hz": 20}))

    def _hear(self, socket: Any, notice: dict[str, Any]) -> None:
        if notice["type"] == "run" and notice["run"]["id"] == self.run_id:
            self.state = notice["run"]["state"]
        elif notice["type"] == "head":
            self.head = (notice["epoch"], notice["seq"])
            # A notice of the end may be lost. A head is that of an ended run if the run had ended when it was sent.
            self.state, self.heard = self.heard or self.state, self.platform.run(self.run_id)["state"]
        elif notice["type"] == "resync":
            self._subscribe(socket)

    def _apply(self, frame: bytes) -> None:
        (length,) = struct.unpack_from("<I", frame, 4)
        header = json.loads(frame[8 : 8 + length])
        if header["type"] == "snapshot":
            self.points.clear()
        elif self.position != (header["epoch"], header["from"] - 1):
            self.gaps.append(f"after {self.position} came {header['epoch']}: {header['from']}..{header['to']}")
        self.position = (header["epoch"], header["to"])
        values = memoryview(frame)[8 + length :].cast("d")
        at = 0
        for series in header["series"]:
            n = series["n"]
            for index in range(n):
                self.points[series["key"], values[at + index]] = values[at + n + index]
            at += 3 * n
