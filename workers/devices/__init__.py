"""What this node can compute on: found without starting any backend, and handed to a run by its environment."""

from __future__ import annotations

from collections.abc import Sequence

from workers.devices import cpu, nvidia, tpu
from workers.devices.cpu import CPU_KIND
from workers.devices.device import Device

__all__ = ["Device", "discover", "environment_for", "measure"]


def discover(cpu_slots: int | None = None) -> list[Device]:
    """Every device of this node.

    cpu_slots: how many single-core runs it takes at a time. None: one for each core on a node without accelerators, and
    none on a node with, whose cores feed them.
    """
    accelerators = [*nvidia.discover(), *tpu.discover()]
    if cpu_slots is None:
        cpu_slots = 0 if accelerators else cpu.core_count()
    return [*accelerators, *cpu.discover(cpu_slots)]


def environment_for(held: Sequence[tuple[str, int]], inventory: Sequence[Device], *, spread: int = 1) -> dict[str, str]:
    """Variables that make exactly these (kind, index) devices visible. Raises ValueError for one that is not here.

    spread: over how many devices the run's program spreads itself; on CPU slots XLA has to be told.
    """
    known = {(device.kind, device.index) for device in inventory}
    strangers = [f"{kind} {index}" for kind, index in held if (kind, index) not in known]
    if strangers:
        raise ValueError(f"This node has no {', '.join(strangers)}.")
    nvidia_held = sorted(index for kind, index in held if kind.startswith(nvidia.PREFIX))
    tpu_held = sorted(index for kind, index in held if kind.startswith(tpu.PREFIX))
    slots = sum(kind == CPU_KIND for kind, _ in held)
    if nvidia_held:
        return {**nvidia.environment(nvidia_held), **cpu.threads(_share(len(nvidia_held), nvidia.PREFIX, inventory))}
    if tpu_held:
        return {**tpu.environment(tpu_held), **cpu.threads(_share(len(tpu_held), tpu.PREFIX, inventory))}
    return cpu.environment(max(1, slots), spread=spread)


def measure(held: Sequence[tuple[str, int]]) -> dict[str, float]:
    """Use and memory of the accelerators among these, by metric key."""
    return nvidia.measure(sorted(index for kind, index in held if kind.startswith(nvidia.PREFIX)))


def _share(held: int, prefix: str, inventory: Sequence[Device]) -> int:
    """The cores that belong to so many of the node's accelerators."""
    total = sum(device.kind.startswith(prefix) for device in inventory)
    return max(1, cpu.core_count() * held // max(1, total))
