"""Stopping: asked first, killed after the grace time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests.workers.conftest import Start
from workers.sandbox.stop import Stopper

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(int(sys.argv[1]), b"up")
time.sleep(600)
"""
POLITE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
os.write(int(sys.argv[1]), b"up")
time.sleep(600)
"""


def test_a_polite_run_stops_by_itself(start: Start, eventually: Callable[..., None]) -> None:
    child = start(POLITE)
    assert os.read(child.events, 10) == b"up"
    stopper = Stopper(child, grace_s=60.0)
    stopper.ask(time.monotonic())
    eventually(child.has_exited)
    assert not stopper.tick(time.monotonic())
    assert child.reap() == 3


def test_a_stubborn_run_is_killed_once_after_the_grace_time(start: Start, eventually: Callable[..., None]) -> None:
    child = start(STUBBORN)
    assert os.read(child.events, 10) == b"up"
    stopper = Stopper(child, grace_s=10.0)
    now = time.monotonic()
    assert not stopper.tick(now + 100.0)
    stopper.ask(now)
    stopper.ask(now + 9.0)
    assert not stopper.tick(now + 9.9)
    assert not child.has_exited()
    assert stopper.tick(now + 10.0)
    assert not stopper.tick(now + 11.0)
    eventually(child.has_exited)
    assert child.reap() == -signal.SIGKILL
