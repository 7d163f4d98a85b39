"""Many runs of one optimizer on one problem that differ in its numbers and in the seed, compiled once for all of them.

The numbers of a trial (learning rate, decays, epsilons) travel in the optimizer's state instead of the compiled code.
A number that an optimizer looks at in Python (momentum, whose sign decides whether there is a buffer) cannot: it is
found by tracing, stays in the code, and each of its values is compiled for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from models_core import optim
from models_core.optim._options import OptimizerOptions
from models_core.training.step import StepFn, TrainState, compile_step, start
from models_core.training.workloads._problem import Problem

Shape = Callable[[Array], Array]


class TunedState(NamedTuple):
    """inner: the optimizer's own state. numbers: the values of this trial, by field."""

    inner: Any
    numbers: Mapping[str, Array]


def tunable(options: OptimizerOptions, fields: Sequence[str], shape: Shape) -> optax.GradientTransformationExtraArgs:
    """The optimizer of `options`, its `fields` (numbers) kept in the state; its rate is lr times `shape` of the step.

    Reduces to: `optim.build(options, lambda count: lr * shape(count))`, up to rounding: the numbers are float32.
    """

    def built(numbers: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
        given = options.model_copy(update=dict(numbers))
        return optax.with_extra_args_support(optim.build(given, lambda count: given.lr * shape(count)))

    def init(params: Any) -> TunedState:
        numbers = {name: jnp.asarray(getattr(options, name), jnp.float32) for name in fields}
        return TunedState(built({}).init(params), numbers)

    def update(grads: Any, state: TunedState, params: Any = None, **extra: Any) -> tuple[Any, TunedState]:
        updates, inner = built(state.numbers).update(grads, state.inner, params, **extra)
        return updates, TunedState(inner, state.numbers)

    return optax.GradientTransformationExtraArgs(init, update)


def traceable(options: OptimizerOptions, fields: Sequence[str], shape: Shape) -> tuple[str, ...]:
    """Those of `fields` that may be arrays while the optimizer is compiled."""
    like = {"matrix": jnp.zeros((2, 3)), "vector": jnp.zeros(2)}

    def traces(names: Sequence[str]) -> bool:
        transformation = tunable(options, names, shape)

        def update(state: TunedState) -> Any:
            return transformation.update(like, state, like, obj_fn=lambda params: optax.tree.norm(params, squared=True))

        try:
            jax.eval_shape(lambda: update(transformation.init(like)))
            state = jax.eval_shape(transformation.init, like)
            following = jax.eval_shape(update, state)[1]
        except (TypeError, ValueError):
            # jax's errors about tracers derive from TypeError, those about promotion from ValueError.
            return False
        structures: list[Any] = [jax.tree.structure(tree) for tree in (state, following)]
        return bool(structures[0] == structures[1])

    return tuple(fields) if traces(fields) else tuple(name for name in fields if traces([name]))


class Trials:
    """The runs.

    data: the training examples, as `problem.on_device()` gives them. shape: learning rate over the steps, as a factor.
    tuned: fields that may differ between trials.
    """

    def __init__(
        self, problem: Problem, base: OptimizerOptions, *, data: Any, shape: Shape, tuned: Sequence[str]
    ) -> None:
        self._problem, self._shape, self._train = problem, shape, data
        self._moving = traceable(base, tuned, shape)
        self._fixed = [name for name in tuned if name not in self._moving]
        self._compiled: dict[tuple[float, ...], StepFn] = {}

    def begin(self, options: OptimizerOptions, seed: int) -> TrainState:
        """The state before the first step."""
        return start(self._problem.init(jax.random.key(seed)), self._optimizer(options))

    def step(
        self, state: TrainState, options: OptimizerOptions, rows: np.ndarray
    ) -> tuple[TrainState, dict[str, Array]]:
        """One update; the old state's buffers are given away."""
        key = tuple(getattr(options, name) for name in self._fixed)
        if key not in self._compiled:
            self._compiled[key] = compile_step(self._loss, self._optimizer(options), state, self._train, rows)
        return self._compiled[key](state, self._train, rows)

    def _loss(self, params: Any, train: Any, rows: Any) -> tuple[Array, dict[str, Array]]:
        return self._problem.mean_loss(params, train, rows), {}

    def _optimizer(self, options: OptimizerOptions) -> optax.GradientTransformation:
        return tunable(options, self._moving, self._shape)
