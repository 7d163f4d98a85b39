"""The one description of a device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """kind: what a run asks for, "cpu", "nvidia-h100", "tpu-v5e". index: unique in its kind on this node.

    memory_bytes: 0 when unknown.
    """

    kind: str
    index: int
    name: str
    memory_bytes: int
