"""CPU slots: one core's worth of threads each, so that runs side by side do not fight."""

from __future__ import annotations

import os

import psutil

from workers.devices.device import Device

CPU_KIND = "cpu"
# Every thread pool that jax, numpy, scipy, torch and tokenizers would size by the machine.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "NPROC",  # XLA's pools on the CPU
)


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def discover(slots: int) -> list[Device]:
    """So many slots, which share the node's memory evenly."""
    if slots <= 0:
        return []
    memory_bytes = int(psutil.virtual_memory().total) // slots
    name = _model_name()
    return [Device(CPU_KIND, index, name, memory_bytes) for index in range(slots)]


def threads(count: int) -> dict[str, str]:
    """Variables that bound every thread pool."""
    return dict.fromkeys(THREAD_VARIABLES, str(count))


def environment(slots: int, *, spread: int = 1) -> dict[str, str]:
    """For a run on so many slots and no accelerator. spread: as how many devices XLA shows them to its program."""
    flags = {}
    if slots == 1:
        flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    elif spread > 1:
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={min(spread, slots)}"}
    return {**threads(slots), **flags, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def _model_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        return "CPU"
    return names[0] if names else "CPU"
