"""Arrays between numpy and PyTorch without changing a bit, bfloat16 included."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor


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
