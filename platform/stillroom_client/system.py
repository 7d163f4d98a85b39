"""What the machine does while a script runs: processor, memory, graphics cards. Measured in a thread of its own.

psutil and NVML are used when they can be imported; without them the standard library gives less.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PERIOD_S = 15.0
FIRST_S = 2.0


class SystemMonitor:
    """Calls `report(step, values)` every `period_s` seconds; the step is whole seconds since the start."""

    def __init__(self, report: Callable[[int, dict[str, float]], None], *, period_s: float = PERIOD_S) -> None:
        self._report = report
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stillroom-system", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns at once."""
        self._stop.set()

    def _run(self) -> None:
        measure = Meter()
        began = time.monotonic()
        pause_s = min(FIRST_S, self._period_s)
        while not self._stop.wait(pause_s):
            pause_s = self._period_s
            values = measure()
            if values:
                self._report(int(time.monotonic() - began), values)


class Meter:
    """One measurement of this process and its machine at each call. Keys begin with `system/`."""

    def __init__(self) -> None:
        self._psutil = _import("psutil")
        self._process = self._psutil.Process() if self._psutil else None
        self._nvml, self._cards = _cards()
        self._cpu_s, self._at = _cpu_s(), time.monotonic()

    def __call__(self) -> dict[str, float]:
        now, used_s = time.monotonic(), _cpu_s()
        elapsed_s = max(now - self._at, 1e-3)
        values = {"system/cpu_percent": 100.0 * max(0.0, used_s - self._cpu_s) / elapsed_s}
        self._cpu_s, self._at = used_s, now
        if self._psutil and self._process:
            values["system/memory_bytes"] = float(self._process.memory_info().rss)
            values["system/host/memory_percent"] = float(self._psutil.virtual_memory().percent)
            values["system/host/cpu_percent"] = float(self._psutil.cpu_percent(interval=None))
        else:
            values["system/memory_bytes"] = float(_peak_bytes())
        for number, card in enumerate(self._cards):
            values.update(_card_values(self._nvml, number, card))
        return values


def _cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _import(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        return None


def _cards() -> tuple[Any, list[Any]]:
    nvml = _import("pynvml")
    if nvml is None:
        return None, []
    try:
        nvml.nvmlInit()
        return nvml, [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:
        return nvml, []


def _card_values(nvml: Any, number: int, card: Any) -> dict[str, float]:
    prefix = f"system/gpu.{number}"
    try:
        rates, memory = nvml.nvmlDeviceGetUtilizationRates(card), nvml.nvmlDeviceGetMemoryInfo(card)
        return {
            f"{prefix}/utilization_percent": float(rates.gpu),
            f"{prefix}/memory_bytes": float(memory.used),
            f"{prefix}/power_w": nvml.nvmlDeviceGetPowerUsage(card) / 1000.0,
        }
    except nvml.NVMLError:
        return {}
