"""TPU chips by their device files and PCI ids, without loading libtpu, which would take them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.devices.device import Device

PREFIX = "tpu-"
ACCELERATOR_TYPE = "TPU_ACCELERATOR_TYPE"

_GIB = 1024**3
_GOOGLE = "0x1ae0"
# PCI device ids as jax/_src/hardware_utils.py lists them.
_VERSION_OF_PCI_ID = {"0x0027": "v3", "0x005e": "v4", "0x0062": "v5p", "0x0063": "v5e", "0x006f": "v6e", "0x0076": "7x"}
# "v5litepod-8" and its like, as Google Cloud names them.
_VERSION_OF_TYPE = {"v5litepod": "v5e", "v5lite": "v5e"}
# High-bandwidth memory of one chip, from Google Cloud's system architecture pages.
_MEMORY_BYTES = {
    "v2": 16 * _GIB,
    "v3": 32 * _GIB,
    "v4": 32 * _GIB,
    "v5e": 16 * _GIB,
    "v5p": 95 * _GIB,
    "v6e": 32 * _GIB,
    "7x": 192 * _GIB,
}
# How so many chips of one host lie in its grid.
_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}


def discover(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> list[Device]:
    """Chips with a device file (/dev/accelN, or /dev/vfio/N together with a PCI device of Google's)."""
    versions = _pci_versions(root)
    files = sorted(root.glob("dev/accel[0-9]*")) or (sorted(root.glob("dev/vfio/[0-9]*")) if versions else [])
    version = _version_of(environ.get(ACCELERATOR_TYPE, "")) or (versions[0] if versions else None)
    if not files or version is None:
        return []
    memory_bytes = _MEMORY_BYTES.get(version, 0)
    return [Device(PREFIX + version, index, f"TPU {version}", memory_bytes) for index in range(len(files))]


def environment(indices: Sequence[int]) -> dict[str, str]:
    """For a run on these chips of this host alone. Raises ValueError for a number of chips that forms no grid."""
    if len(indices) not in _BOUNDS:
        raise ValueError(f"{len(indices)} TPU chips form no grid; a run can use {', '.join(map(str, _BOUNDS))}.")
    return {
        "TPU_VISIBLE_CHIPS": ",".join(map(str, indices)),
        "TPU_CHIPS_PER_PROCESS_BOUNDS": _BOUNDS[len(indices)],
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "JAX_PLATFORMS": "tpu,cpu",
    }


def _version_of(accelerator_type: str) -> str | None:
    family = re.split(r"[-:]", accelerator_type.strip().lower())[0]
    if not family:
        return None
    return _VERSION_OF_TYPE.get(family, family.removeprefix("tpu"))


def _pci_versions(root: Path) -> list[str]:
    found = []
    for vendor in sorted(root.glob("sys/bus/pci/devices/*/vendor")):
        try:
            if vendor.read_text().strip() == _GOOGLE:
                device_id = vendor.with_name("device").read_text().strip()
                found.append(_VERSION_OF_PCI_ID.get(device_id))
        except OSError:
            continue
    return [version for version in found if version is not None]
