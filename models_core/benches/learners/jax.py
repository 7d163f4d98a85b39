"""Training on a workload in JAX; `models_core.benches.learners.torch` has the same classes and methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from models_core import optim
from models_core.optim._options import OptimizerOptions
from models_core.training import snapshot, spectra
from models_core.training.gradient_clock import GradientClock
from models_core.training.step import TrainState, check_finite, compile_step, start
from models_core.training.trials import Trials
from models_core.training.workloads._options import WorkloadOptions
from models_core.training.workloads._problem import Examples, Problem

Schedule = Callable[[Any], Any]
Step = Callable[[TrainState, np.ndarray], tuple[TrainState, Mapping[str, Any]]]


class Training:
    """A state and what moves it on.

    compiled(state): the step. own: the optimizer's part of its state, which counts as its memory.
    """

    def __init__(
        self,
        state: TrainState,
        compiled: Callable[[TrainState], Step],
        own: Callable[[Any], Any] = lambda held: held,
    ) -> None:
        self.state, self._compiled, self._own = state, compiled, own
        self._step: Step | None = None

    def prepare(self) -> None:
        """Compile the step; trials that share one leave it to their first step."""
        self._step = self._compiled(self.state)

    def step(self, rows: np.ndarray) -> Mapping[str, Any]:
        """One update by the batch of these rows; "loss" and "grad_norm", still on the device."""
        if self._step is None:
            self.prepare()
        assert self._step is not None
        self.state, numbers = self._step(self.state, rows)
        return numbers

    def wait(self) -> None:
        """Until the device has done all that was asked."""
        jax.block_until_ready(self.state)  # type: ignore[no-untyped-call]

    @property
    def broken(self) -> bool:
        """Whether any step so far met NaN or infinity; waits for the device."""
        return int(self.state.bad_step) >= 0

    def check(self) -> None:
        """Raise NonFinite where it is broken."""
        check_finite(self.state)

    def state_bytes(self) -> float:
        """Memory of the optimizer's state."""
        return float(snapshot.tree_bytes(self._own(self.state.opt_state)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint."""
        return snapshot.to_arrays(self.state)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse; raises CheckpointInvalid."""
        self.state = snapshot.from_arrays(arrays, self.state)

    def factors(self) -> Sequence[spectra.Factor]:
        """Of the places that are watched."""
        seen: spectra.Observed = self.state.opt_state[0]
        return seen.factors

    def exported(self) -> bytes:
        """The weights as one safetensors file."""
        return snapshot.to_safetensors(self.state.params)


class Learner:
    """A workload. problem: what `training.workloads.build` gave for the options. batch_size: of every step."""

    def __init__(self, options: WorkloadOptions, problem: Problem, batch_size: int) -> None:
        self._problem, self._data = problem, problem.on_device()
        # As `BatchOrder` gives them: what steps are compiled for.
        self._rows = np.zeros(batch_size, np.int32)

    def training(
        self,
        optimizer: OptimizerOptions,
        schedule: Schedule,
        *,
        steps: int,
        seed: int,
        watch: spectra.Watch | None = None,
    ) -> Training:
        """One run from the weights of the seed. schedule: the learning rate over the updates made, an array function.

        steps: how many updates there will be. watch: what to look at in their gradients.
        """
        transformation = optim.build(optimizer, schedule)
        if watch is not None:
            transformation = optax.chain(spectra.observe(watch), transformation)

        def compiled(state: TrainState) -> Step:
            step = compile_step(self._loss, transformation, state, self._data, self._rows)
            return lambda state, rows: step(state, self._data, rows)

        return Training(start(self._problem.init(jax.random.key(seed)), transformation), compiled)

    def trials(
        self, base: OptimizerOptions, shape: Schedule, *, steps: int, tuned: Sequence[str]
    ) -> Callable[[OptimizerOptions, int], Training]:
        """`begin(options, seed)`: a run of `base` with other numbers, and the seed's weights.

        shape: the learning rate over the updates made, as a factor, an array function. tuned: fields that may differ
        from `base`; they are compiled once for all runs where that can be done.
        """
        trials = Trials(self._problem, base, data=self._data, shape=shape, tuned=tuned)

        def begin(options: OptimizerOptions, seed: int) -> Training:
            def step(state: TrainState, rows: np.ndarray) -> tuple[TrainState, Mapping[str, Any]]:
                return trials.step(state, options, rows)

            return Training(trials.begin(options, seed), lambda state: step, own=lambda held: held.inner)

        return begin

    def evaluation(self, examples: Examples, prefix: str) -> Callable[[Training], dict[str, float]]:
        """`evaluate(training)`: the means of all values over the examples, each under `prefix` + its name."""
        evaluate = self._problem.evaluation(examples, prefix)
        return lambda training: evaluate(training.state.params)

    def clock(self, training: Training) -> GradientClock:
        """What times the gradient alone."""
        whole = jax.jit(jax.value_and_grad(self._problem.mean_loss))
        gradient = whole.lower(training.state.params, self._data, self._rows).compile()
        return GradientClock(
            lambda rows: jax.block_until_ready(gradient(training.state.params, self._data, rows))  # type: ignore[no-untyped-call]
        )

    def _loss(self, params: Any, data: Any, rows: Any) -> tuple[Any, dict[str, Any]]:
        return self._problem.mean_loss(params, data, rows), {}
