"""`training.workloads._problem` in PyTorch: the same examples, and a module that begins with the weights JAX draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor, nn

from models_core.nn.torch.arrays import fill, to_tensor
from models_core.training import snapshot
from models_core.training.torch.step import Leaves, plain_leaves
from models_core.training.torch.teachers import device
from models_core.training.workloads._problem import Examples, Problem

Values = Callable[[Any, Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class TorchProblem:
    """A loss over examples.

    problem: in JAX. make(): a module whose parameters are to be set. values(module, examples): as in JAX. leaves: how
    its parameters are those of JAX.
    """

    problem: Problem
    make: Callable[[], nn.Module]
    values: Values
    leaves: Leaves = plain_leaves

    def init(self, seed: int) -> nn.Module:
        """A module with the weights of that seed in JAX, on the device."""
        module = self.make()
        drawn = snapshot.to_arrays(self.problem.init(jax.random.key(seed)))
        fill(self.leaves(module, nn.Parameter.detach), drawn)
        return module.to(device())

    def on_device(self) -> dict[str, Tensor]:
        """The training examples as `mean_loss` takes them."""
        return {name: _placed(array) for name, array in self.problem.train.items()}

    def mean_loss(self, module: nn.Module, train: Mapping[str, Tensor], rows: np.ndarray) -> Tensor:
        """Loss of a batch: the mean over the rows chosen of `train`, as `on_device` gives it."""
        chosen = _placed(rows)
        return self.values(module, {name: array[chosen] for name, array in train.items()})["loss"].mean()

    def evaluation(self, examples: Examples, prefix: str) -> Callable[[nn.Module], dict[str, float]]:
        """`evaluate(module)`: the means of all values over `examples`, each under `prefix` + its name."""
        at_once, count = self.problem.eval_batch, len(next(iter(examples.values())))

        @torch.no_grad()
        def evaluate(module: nn.Module) -> dict[str, float]:
            totals: dict[str, float] = {}
            for start in range(0, count, at_once):
                part = {name: _placed(array[start : start + at_once]) for name, array in examples.items()}
                for key, value in self.values(module, part).items():
                    totals[key] = totals.get(key, 0.0) + float(value.sum())
            return {f"{prefix}{key}": total / count for key, total in totals.items()}

        return evaluate


def _placed(array: np.ndarray) -> Tensor:
    """On the device; whole numbers as PyTorch's indices."""
    tensor = to_tensor(array).to(device())
    return tensor if tensor.is_floating_point() else tensor.long()
