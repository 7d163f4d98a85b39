"""What a run uses, measured from outside."""

from __future__ import annotations

import queue
from collections.abc import Callable

from tests.workers.conftest import Start
from workers.sandbox.monitor import Monitor, process_values
from workers.sandbox.processes import Usage

BUSY = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "while True: pass"])
data = bytearray(80_000_000)
while True:
    pass
"""


def test_children_count_and_memory_is_there(start: Start) -> None:
    reports: queue.Queue[tuple[int, dict[str, float]]] = queue.Queue()
    monitor = Monitor(start(BUSY), [("cpu", 0)], lambda step, values: reports.put((step, values)), period_s=0.5)
    monitor.start()
    reports.get(timeout=30.0)
    step, values = reports.get(timeout=30.0)
    monitor.stop()
    assert step == 1
    assert set(values) == {"system/cpu_percent", "system/memory_bytes"}
    assert values["system/cpu_percent"] > 1.0
    assert values["system/memory_bytes"] > 80_000_000


def test_a_process_that_came_counts_from_zero_and_one_that_went_not_at_all() -> None:
    before = {1: Usage(10.0, 100), 2: Usage(5.0, 100)}
    after = {1: Usage(11.0, 200), 3: Usage(0.5, 50)}
    assert process_values(before, after, 2.0) == {"system/cpu_percent": 75.0, "system/memory_bytes": 250.0}


def test_nothing_is_reported_when_the_run_is_gone(start: Start, eventually: Callable[..., None]) -> None:
    child = start("pass")
    eventually(child.has_exited)
    reports: list[int] = []
    monitor = Monitor(child, [], lambda step, values: reports.append(step), period_s=0.01)
    monitor.start()
    monitor._thread.join(0.2)
    monitor.stop()
    assert reports == []
