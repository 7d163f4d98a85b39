"""Real processes and real sockets, small limits."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.sandbox.environment import scrubbed
from workers.sandbox.leftovers import Ledger
from workers.sandbox.processes import kill_all
from workers.sandbox.spawn import Child, Limits, Nursery

Start = Callable[..., Child]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "processes")


@pytest.fixture
def start(ledger: Ledger, tmp_path: Path) -> Iterator[Start]:
    """Start `python -c SCRIPT` as a run's process; whatever is left at the end of the test is killed."""
    children: list[Child] = []

    def begin(script: str, *, limits: Limits | None = None, **environment: str) -> Child:
        nursery = Nursery(ledger, limits or Limits())
        child = nursery.start(["-c", script, "{events}"], {**scrubbed(os.environ), **environment}, tmp_path)
        children.append(child)
        return child

    yield begin
    for child in children:
        child.reap()
        assert kill_all(-1, child.tag)
        child.close()


@pytest.fixture
def nursery(ledger: Ledger) -> Iterator[Nursery]:
    """A nursery that is served by a thread of its own."""
    made = Nursery(ledger, Limits())
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            made.serve(0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    yield made
    over.set()
    thread.join()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds, looking often; fails after the timeout."""

    def wait(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.005)

    return wait
