"""A pytree as named arrays and back: what a checkpoint or an exported model holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from models_core.errors import CheckpointInvalid

Tree = TypeVar("Tree")


def to_arrays(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Every leaf under its path ("params.layers.0.attention.query"), copied to the host."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    # Copies: the device may reuse a donated buffer while the arrays are being written.
    return {prefix + _name(path): np.array(leaf) for path, leaf in leaves}


def from_arrays(arrays: Mapping[str, np.ndarray], like: Tree, prefix: str = "") -> Tree:
    """The inverse of `to_arrays`; `like` gives structure, shapes and dtypes.

    Raises CheckpointInvalid that names the array which is missing, surplus, or of another shape or dtype.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {prefix + _name(path): leaf for path, leaf in leaves}
    present = {name for name in arrays if name.startswith(prefix)}
    for name in sorted(present ^ set(expected)):
        raise CheckpointInvalid(f"The array {name} is {'not expected' if name in present else 'missing'} here.")
    for name, leaf in expected.items():
        if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            found, wanted = (f"{array.dtype}{list(array.shape)}" for array in (arrays[name], leaf))
            raise CheckpointInvalid(f"The array {name} is {found}, expected {wanted}.")
    restored: Tree = jax.tree_util.tree_unflatten(structure, [jnp.array(arrays[name]) for name in expected])
    return restored


def tree_bytes(tree: Any) -> int:
    """The memory of all leaves, in bytes."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def to_safetensors(tree: Any) -> bytes:
    """The leaves as one safetensors file."""
    from safetensors.numpy import save

    return save(to_arrays(tree), metadata={"format": "np"})


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
