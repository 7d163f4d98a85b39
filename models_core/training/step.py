"""One jitted training step, and the watch for numbers that are none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from models_core.errors import NonFinite

LossFn = Callable[..., tuple[Float[Array, ""], dict[str, Array]]]
StepFn = Callable[..., tuple["TrainState", dict[str, Array]]]


class TrainState(NamedTuple):
    """Everything that a step changes.

    step: updates made. bad_step: the first step whose loss or gradient was not finite, -1 if none. grad_norm: the last
    finite one.
    """

    params: Any
    opt_state: Any
    step: Int[Array, ""]
    bad_step: Int[Array, ""]
    grad_norm: Float[Array, ""]


def start(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(
        params,
        optimizer.init(params),
        jnp.zeros((), jnp.int32),
        jnp.full((), -1, jnp.int32),
        jnp.zeros((), jnp.float32),
    )


def compile_step(loss_fn: LossFn, optimizer: optax.GradientTransformation, state: TrainState, *batch: Any) -> StepFn:
    """`step(state, *batch) -> state, metrics`, compiled for the shapes given; the old state's buffers are given away.

    loss_fn(params, *batch) returns a scalar and further scalars to report; metrics has these, "loss" and "grad_norm".
    The optimizer may differentiate the batch's loss itself: it is given it as `obj_fn`.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    @partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, *batch: Any) -> tuple[TrainState, dict[str, Array]]:
        (loss, extra), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, *batch)
        grad_norm = optax.tree.norm(grads).astype(jnp.float32)
        updates, opt_state = optimizer.update(
            grads, state.opt_state, state.params, obj_fn=lambda params: loss_fn(params, *batch)[0]
        )
        count = state.step + 1
        healthy = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & (state.bad_step < 0)
        following = TrainState(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            step=count,
            bad_step=jnp.where(healthy | (state.bad_step >= 0), state.bad_step, count),
            grad_norm=jnp.where(healthy, grad_norm, state.grad_norm),
        )
        return following, {"loss": loss, "grad_norm": grad_norm, **extra}

    compiled: StepFn = step.lower(state, *batch).compile()
    return compiled


@runtime_checkable
class Watched(Protocol):
    """A training state of any framework."""

    @property
    def bad_step(self) -> Any: ...

    @property
    def grad_norm(self) -> Any: ...


def check_finite(state: Watched, what: str = "Training") -> None:
    """Raise NonFinite if any step so far met NaN or infinity; waits for the device."""
    bad_step = int(state.bad_step)
    if bad_step >= 0:
        raise NonFinite(
            f"{what} met NaN or infinity at step {bad_step}; "
            f"the last finite gradient norm was {float(state.grad_norm):.4g}. "
            "A smaller learning rate or a longer warm-up may help."
        )
