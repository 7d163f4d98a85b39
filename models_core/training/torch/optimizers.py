"""Which optimizers a PyTorch run can have, by name, and their state as named arrays: what a checkpoint holds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from models_core.nn.torch.arrays import to_numpy, to_tensor
from models_core.optim import torch as twins
from models_core.optim.torch._twin import Twin

_TWINS: dict[str, type[Twin]] = {
    found.kind(): found
    for found in vars(twins).values()
    if isinstance(found, type) and issubclass(found, Twin) and found is not Twin
}
AVAILABLE = tuple(sorted(_TWINS))
# Those that a run takes from PyTorch itself, fused: they look at one number at a time, and their parameters must be
# contiguous (other strides are not refused, but read wrongly).
NATIVE = frozenset({"adam", "sgd"})
# What the names of these arrays begin with.
SLOTS = "optimizer."


def twin(kind: str) -> type[Twin] | None:
    """The class for the optimizer `kind`, None where PyTorch has none."""
    return _TWINS.get(kind)


def state_arrays(optimizer: torch.optim.Optimizer, numbers: Sequence[int]) -> dict[str, np.ndarray]:
    """Every number of the state, as "optimizer.<number of the parameter>.<name of the slot>".

    numbers: of the optimizer's parameters among all that are trained.
    """
    found: dict[str, np.ndarray] = {}
    for place, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if value is not None:
                held = to_numpy(value) if torch.is_tensor(value) else np.array(value, np.int64)
                found[f"{SLOTS}{numbers[place]}.{slot}"] = held
    return found


def load_state(optimizer: torch.optim.Optimizer, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
    """The inverse of `state_arrays`; arrays of other names, and of parameters that it has not, are left alone."""
    places = {number: place for place, number in enumerate(numbers)}
    state: dict[int, dict[str, Any]] = {}
    for name, held in arrays.items():
        if not name.startswith(SLOTS):
            continue
        number, slot = name.removeprefix(SLOTS).split(".", 1)
        if int(number) not in places:
            continue
        # PyTorch's own optimizers count in float32, ours in plain numbers.
        counted = held.ndim == 0 and held.dtype == np.int64
        state.setdefault(places[int(number)], {})[slot] = int(held) if counted else to_tensor(held)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Memory of the tensors in the state, in bytes: none before the first update, which makes them."""
    slots = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.numel() * value.element_size() for value in slots if torch.is_tensor(value))
