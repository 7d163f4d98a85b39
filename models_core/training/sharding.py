"""Data-parallel and fully sharded training over a mesh of devices. XLA inserts the communication.

Every device computes a part of the batch. With fsdp > 1 the weights, gradients and optimizer state are cut over that
many devices as well (ZeRO stage 3: Rajbhandari et al., SC 2020); data x fsdp devices in all.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from models_core.errors import MeshInvalid as MeshInvalid

# Cutting a norm's few numbers costs more communication than it saves memory.
LEAST_TO_SHARD = 1024


def make_mesh(data: int, fsdp: int = 1) -> Mesh:
    """A mesh of data x fsdp of the devices there are; raises MeshInvalid when there are fewer."""
    devices = jax.devices()
    if data < 1 or fsdp < 1 or data * fsdp > len(devices):
        raise MeshInvalid(
            f"A mesh of {data} x {fsdp} needs {data * fsdp} devices; there are {len(devices)}.",
            fields={"devices": f"There are {len(devices)}."},
        )
    chosen = np.array(devices[: data * fsdp]).reshape(data, fsdp)
    return Mesh(chosen, ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto))


def shard_state(tree: Any, mesh: Mesh, *, least: int = LEAST_TO_SHARD) -> Any:
    """Place a state: each leaf of at least `least` numbers is cut along its longest axis that fsdp divides."""

    def place(leaf: jax.Array) -> jax.Array:
        placed: jax.Array = jax.device_put(leaf, NamedSharding(mesh, _cut(leaf.shape, mesh.shape["fsdp"], least)))
        return placed

    return jax.tree.map(place, tree)


def shard_batch(tree: Any, mesh: Mesh) -> Any:
    """Place a batch (micro-batches, rows, ..): its rows are cut over all devices; raises MeshInvalid if they do not go.

    Whole rows go to devices, so that documents stay together.
    """

    rows = PartitionSpec(None, ("data", "fsdp"))  # type: ignore[no-untyped-call]

    def place(leaf: Any) -> jax.Array:
        if leaf.shape[1] % mesh.size:
            raise MeshInvalid(
                f"A micro-batch of {leaf.shape[1]} rows does not divide over {mesh.size} devices.",
                fields={"batch_size": f"Must be a multiple of {mesh.size} in each micro-batch."},
            )
        placed: jax.Array = jax.device_put(leaf, NamedSharding(mesh, rows))
        return placed

    return jax.tree.map(place, tree)


def _cut(shape: tuple[int, ...], parts: int, least: int) -> PartitionSpec:
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or int(np.prod(shape)) < least or not axes:
        return PartitionSpec()  # type: ignore[no-untyped-call]
    longest = max(axes, key=lambda axis: shape[axis])
    cut = ["fsdp" if axis == longest else None for axis in range(len(shape))]
    return PartitionSpec(*cut)  # type: ignore[no-untyped-call]
