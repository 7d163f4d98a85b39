"""Plain models in PyTorch: the methods of `models_core.benches.plain.jax.Bench`.

Weights begin as JAX draws them, so that a run is the same run in either framework, up to rounding and to sparse targets
that are drawn.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import jax
import numpy as np
import torch

from models_core.benches.torch_lessons import generator_of
from models_core.distill.torch import losses, sparse
from models_core.nn import image_models
from models_core.nn.torch import image_models as torch_image_models
from models_core.nn.torch.arrays import load_named, named, to_numpy, to_tensor
from models_core.training import snapshot
from models_core.training.torch import teachers
from models_core.training.torch.teachers import KEEPING, State


class Bench:
    """seed: of the run."""

    keeping = KEEPING
    xp: Any = torch
    losses, sparse = losses, sparse

    def __init__(self, seed: int) -> None:
        self._seed, self._root = seed, jax.random.key(seed)

    def image_model(
        self, options: Any, stream: int, shape: tuple[int, int, int], classes: int
    ) -> tuple[torch.nn.Module, Any]:
        """A module with the weights that JAX draws, and `apply(module, images)`."""
        params, _ = image_models.build(options, jax.random.fold_in(self._root, stream), shape, classes)
        module = load_named(torch_image_models.build(options, shape, classes), snapshot.to_arrays(params))
        return module.to(teachers.device()), lambda module, x: module(x)

    def table(self, tree: Mapping[str, Any]) -> torch.nn.ParameterDict:
        """A module of named parameters."""
        held = {name: torch.nn.Parameter(to_tensor(np.asarray(array))) for name, array in tree.items()}
        return torch.nn.ParameterDict(held).to(teachers.device())

    def log_softmax(self, x: torch.Tensor) -> torch.Tensor:
        """Over the last axis."""
        return torch.log_softmax(x, dim=-1)

    def source(self, index: int) -> torch.Generator:
        """See JAX's; the draws are others."""
        return generator_of(self._seed, 0, int(index), torch.device(teachers.device()))

    def training(
        self,
        loss: Callable[..., tuple[Any, dict[str, Any]]],
        params: torch.nn.Module,
        optimizer: Any,
        *,
        steps: int,
        warmup_steps: int,
        example: Mapping[str, Any],
        given: Any = None,
    ) -> tuple[State, Callable[[State, Mapping[str, Any]], tuple[State, dict[str, float]]]]:
        """As in JAX; the state's `params` is the module."""

        def sums(model: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
            value, numbers = loss(model, batch, given)
            return value, torch.ones((), device=value.device), numbers

        def update(state: State, batch: Mapping[str, Any]) -> tuple[State, dict[str, float]]:
            return state, state.loop.step([{name: self.to_device(array) for name, array in batch.items()}])

        return State(params, optimizer, steps=steps, warmup_steps=warmup_steps, sums=sums), update

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function without gradients; nothing is compiled."""

        @wraps(function)
        @torch.no_grad()
        def called(*arguments: Any) -> Any:
            return function(*arguments)

        return called

    def to_numpy(self, array: torch.Tensor) -> np.ndarray:
        """On the host."""
        return to_numpy(array)

    def to_device(self, array: np.ndarray | torch.Tensor) -> torch.Tensor:
        """As a tensor; whole numbers as PyTorch's indices."""
        tensor = (array if isinstance(array, torch.Tensor) else to_tensor(array)).to(teachers.device())
        return tensor if tensor.is_floating_point() else tensor.long()

    def frozen(self, model: torch.nn.Module) -> torch.nn.Module:
        """A model that only judges from now on."""
        return model.requires_grad_(False)

    def count(self, model: torch.nn.Module) -> int:
        """Its parameters."""
        return sum(parameter.numel() for parameter in model.parameters())

    def arrays(self, model: torch.nn.Module | None, prefix: str) -> dict[str, np.ndarray]:
        """A model for a checkpoint, by the names that it has in JAX; none: nothing."""
        return {} if model is None else named(model, prefix)

    def restored(self, arrays: Mapping[str, np.ndarray], state: State, prefix: str) -> torch.nn.Module:
        """The inverse; raises CheckpointInvalid."""
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        model: torch.nn.Module = load_named(copy.deepcopy(state.params), own)
        return model

    def exported(self, model: torch.nn.Module) -> bytes:
        """The weights as one safetensors file, by their names in JAX."""
        return snapshot.to_safetensors(named(model))
