"""Arrays between numpy and PyTorch without changing a bit, bfloat16 included; one by one, or by a module's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn

from models_core.errors import CheckpointInvalid

M = TypeVar("M", bound=nn.Module)


def to_tensor(array: Any) -> Tensor:
    """A tensor of the array's dtype and values; a copy."""
    values = np.array(array, order="C")
    if values.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


def to_numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    """An array of the tensor's dtype and values; a copy."""
    held = tensor.detach().cpu().contiguous()
    if held.dtype == torch.bfloat16:
        return np.array(held.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
    return np.array(held.numpy())


def load_named(module: M, arrays: Mapping[str, Any]) -> M:
    """Give every parameter the array of its name; returns the module.

    For modules whose names and layouts are those of a parameter tree of `nn`, as `training.snapshot.to_arrays` names
    it. Raises CheckpointInvalid that names what is missing, surplus, or of another shape.
    """
    fill(dict(module.named_parameters()), arrays)
    return module


@torch.no_grad()
def fill(tensors: Mapping[str, Tensor], arrays: Mapping[str, Any]) -> None:
    """Write into every tensor the array of its name; raises as `load_named` does."""
    for name in sorted(set(arrays) ^ set(tensors)):
        raise CheckpointInvalid(f"The array {name} is {'not expected' if name in arrays else 'missing'} here.")
    for name, tensor in tensors.items():
        value = to_tensor(arrays[name])
        if value.shape != tensor.shape:
            raise CheckpointInvalid(f"The array {name} is {list(value.shape)}, expected {list(tensor.shape)}.")
        tensor.copy_(value)


def named(module: nn.Module, prefix: str = "") -> dict[str, np.ndarray[Any, Any]]:
    """The inverse: every parameter by its name."""
    return {prefix + name: to_numpy(parameter) for name, parameter in module.named_parameters()}
