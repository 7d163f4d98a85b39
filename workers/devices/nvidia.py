"""NVIDIA GPUs through NVML, which needs the driver only. Without a driver there are none."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence

import pynvml

from workers.devices.device import Device

log = logging.getLogger(__name__)

PREFIX = "nvidia-"
VISIBLE = "CUDA_VISIBLE_DEVICES"
# Words of a product name that say how a chip is packaged, not which one it is.
_PACKAGING = re.compile(r"^(nvidia|tesla|geforce|quadro|graphics|device|sxm\d*|pcie|nvl|hbm\d*e?|\d+gb)$")


def discover() -> list[Device]:
    """Every GPU that the agent itself may see, by PCI bus order."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        visible = os.environ.get(VISIBLE)
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
            if is_visible(visible, index, uuid):
                name = _text(pynvml.nvmlDeviceGetName(handle))
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                found.append(Device(kind_of(name), index, name, int(memory.total)))
        return found
    except pynvml.NVMLError as error:
        log.warning("the NVIDIA driver is here but does not answer: %s", error)
        return []
    finally:
        pynvml.nvmlShutdown()


def kind_of(name: str) -> str:
    """nvidia-h100 for "NVIDIA H100 80GB HBM3"."""
    words = [word for word in re.split(r"[\s\-_/]+", name.lower()) if word and not _PACKAGING.match(word)]
    return PREFIX + ("-".join(words) or "gpu")


def is_visible(visible: str | None, index: int, uuid: str) -> bool:
    """Does the agent's own CUDA_VISIBLE_DEVICES (indices, or beginnings of UUIDs) let this GPU through?"""
    if visible is None:
        return True
    wanted = [part.strip() for part in visible.split(",") if part.strip()]
    return any(part == str(index) or (not part.isdigit() and uuid.startswith(part)) for part in wanted)


def environment(indices: Sequence[int]) -> dict[str, str]:
    """For a run on these GPUs."""
    return {
        VISIBLE: ",".join(map(str, indices)),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order in which NVML counts
        "JAX_PLATFORMS": "cuda,cpu",
    }


def measure(indices: Sequence[int]) -> dict[str, float]:
    """Use in per cent and memory in bytes, numbered from 0 inside the run. Empty when the driver does not answer."""
    if not indices:
        return {}
    values: dict[str, float] = {}
    try:
        pynvml.nvmlInit()
        try:
            for number, index in enumerate(indices):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                values[f"system/gpu{number}_percent"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
                values[f"system/gpu{number}_memory_bytes"] = float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        log.debug("no measurements of GPUs: %s", error)
    return values


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
