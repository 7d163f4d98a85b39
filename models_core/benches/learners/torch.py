"""Training on a workload in PyTorch: the classes and methods of `models_core.benches.learners.jax`, run by run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from models_core.optim._options import OptimizerOptions
from models_core.training import schedules, snapshot, spectra
from models_core.training.gradient_clock import GradientClock
from models_core.training.step import check_finite
from models_core.training.torch import threads, workloads
from models_core.training.torch.spectra import Observer
from models_core.training.torch.step import TrainState
from models_core.training.workloads._options import WorkloadOptions
from models_core.training.workloads._problem import Examples, Problem

Schedule = Callable[[Any], Any]
# What the names of the observer's arrays begin with.
_SEEN = "seen."


class Training:
    """A state that steps change in place. loss(module, rows): of a batch. observer: of its gradient."""

    def __init__(
        self,
        state: TrainState,
        loss: Callable[[torch.nn.Module, np.ndarray], torch.Tensor],
        observer: Observer | None = None,
    ) -> None:
        self.state, self._loss, self._observer = state, loss, observer

    def prepare(self) -> None:
        """Nothing is compiled."""

    def gradient(self, rows: np.ndarray) -> None:
        """Compute the gradient of a batch, change nothing, and wait."""
        _gradient(self.state.module, self._loss(self.state.module, rows))
        self.wait()

    def step(self, rows: np.ndarray) -> Mapping[str, Any]:
        """One update by the batch of these rows; "loss" and "grad_norm", still on the device."""
        see = self._observer.take if self._observer else None
        return self.state.advance(lambda module: self._loss(module, rows), see)

    def wait(self) -> None:
        """Until the device has done all that was asked."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    @property
    def broken(self) -> bool:
        """Whether any step so far met NaN or infinity; waits for the device."""
        return int(self.state.bad_step) >= 0

    def check(self) -> None:
        """Raise NonFinite where it is broken."""
        check_finite(self.state)

    def state_bytes(self) -> float:
        """Memory of the optimizer's state."""
        return float(self.state.state_bytes())

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint."""
        seen = self._observer.arrays() if self._observer else {}
        return self.state.arrays() | {_SEEN + name: array for name, array in seen.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse; raises CheckpointInvalid."""
        self.state.restore({name: array for name, array in arrays.items() if not name.startswith(_SEEN)})
        if self._observer:
            seen = {name.removeprefix(_SEEN): array for name, array in arrays.items() if name.startswith(_SEEN)}
            self._observer.restore(seen)

    def factors(self) -> Sequence[spectra.Factor]:
        """Of the places that are watched."""
        return self._observer.factors() if self._observer else ()

    def exported(self) -> bytes:
        """The weights as one safetensors file, by their names in JAX."""
        return snapshot.to_safetensors(self.state.params())


class Learner:
    """A workload. problem: what `training.workloads.build` gave for the options, in JAX. batch_size: of every step."""

    def __init__(self, options: WorkloadOptions, problem: Problem, batch_size: int) -> None:
        self._problem = workloads.build(options, problem)
        self._data = self._problem.on_device()
        # The first gradient of a process also chooses its kernels, which is not to count as training.
        module, rows = self._problem.init(0), np.arange(batch_size) % problem.examples
        threads.choose(module, lambda: _gradient(module, self._loss(module, rows)))

    def training(
        self,
        optimizer: OptimizerOptions,
        schedule: Schedule,
        *,
        steps: int,
        seed: int,
        watch: spectra.Watch | None = None,
    ) -> Training:
        """As in JAX."""
        rates = schedules.table(schedule, steps)
        state = TrainState(self._problem.init(seed), optimizer, rates, self._problem.leaves)
        return Training(state, self._loss, Observer(watch, state.bad_step.device) if watch else None)

    def trials(
        self, base: OptimizerOptions, shape: Schedule, *, steps: int, tuned: Sequence[str]
    ) -> Callable[[OptimizerOptions, int], Training]:
        """As in JAX; nothing is compiled, so all numbers may differ."""

        def begin(options: OptimizerOptions, seed: int) -> Training:
            return self.training(options, lambda count: options.lr * shape(count), steps=steps, seed=seed)

        return begin

    def evaluation(self, examples: Examples, prefix: str) -> Callable[[Training], dict[str, float]]:
        """As in JAX."""
        evaluate = self._problem.evaluation(examples, prefix)
        return lambda training: evaluate(training.state.module)

    def clock(self, training: Training) -> GradientClock:
        """As in JAX."""
        return GradientClock(training.gradient)

    def _loss(self, module: torch.nn.Module, rows: np.ndarray) -> torch.Tensor:
        return self._problem.mean_loss(module, self._data, rows)


def _gradient(module: torch.nn.Module, loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, list(module.parameters()), materialize_grads=True)
