"""The training step of large batches: accumulation, clipping, moving average, precision, and a policy for NaN.

    g = (sum over micro-batches of grad loss_sum) / (sum of valid counts) ;  g = g min(1, clip / |g|)
    params = params + optimizer(g) ;  ema = decay ema + (1 - decay) params

Micro-batches of unequal numbers of valid tokens so give the gradient of one large batch, which a mean of their means
does not. Compiled once, ahead of time: another shape is an error, never a silent compilation.
Reduces to: `training.step` with one micro-batch and every option off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from models_core.errors import NonFinite
from models_core.training.options import LoopOptions

# sums_fn(params, batch) -> (sum of losses over valid tokens, their number, further sums).
SumsFn = Callable[[Any, Any], tuple[Float[Array, ""], Float[Array, ""], dict[str, Array]]]
StepFn = Callable[[Any, Any], tuple["LoopState", dict[str, Array]]]


class LoopState(NamedTuple):
    """Everything that a step changes.

    ema: moving average of params, None without. step: batches seen. bad_step: the first of them whose loss or gradient
    was not finite, -1 if none. skipped: updates left out so far. in_a_row: of these the latest without a good one
    between.
    """

    params: Any
    opt_state: Any
    ema: Any
    step: Int[Array, ""]
    bad_step: Int[Array, ""]
    skipped: Int[Array, ""]
    in_a_row: Int[Array, ""]


def start(params: Any, optimizer: optax.GradientTransformation, options: LoopOptions) -> LoopState:
    """The state before the first step, params cast to their format."""
    params = cast(params, options.precision.params)
    # A copy: two leaves of a donated state must not be one buffer.
    average = (
        None
        if options.ema_decay is None
        else jax.tree.map(lambda leaf: jnp.array(leaf, options.precision.accumulate), params)
    )
    return LoopState(
        params,
        optimizer.init(params),
        average,
        *(jnp.full((), value, jnp.int32) for value in (0, -1, 0, 0)),
    )


def compile_step(
    sums_fn: SumsFn, optimizer: optax.GradientTransformation, options: LoopOptions, state: LoopState, batch: Any
) -> StepFn:
    """`step(state, batch) -> state, metrics`, compiled for these shapes and shardings; the old state is given away.

    Leaves of `batch` have the micro-batches as their first axis. metrics: "loss" (mean over valid tokens), "grad_norm"
    (before clipping), "valid" (tokens), and the mean of each further sum. No valid token at all is not finite.
    The optimizer may differentiate the loss of the whole batch itself: it is given it as `obj_fn`.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    precision = options.precision

    def total(params: Any, part: Any) -> tuple[Any, Any]:
        loss, count, extra = sums_fn(cast(params, precision.compute), part)
        return loss.astype(precision.output), (count, extra)

    def micro(params: Any, part: Any) -> tuple[Any, Any]:
        (loss, (count, extra)), grads = jax.value_and_grad(total, has_aux=True)(params, part)
        return cast(grads, precision.accumulate), {"loss": loss, "valid": count, **extra}

    def mean_loss(params: Any, batch: Any, count: Any) -> Any:
        if jax.tree.leaves(batch)[0].shape[0] == 1:
            loss, _ = total(params, jax.tree.map(lambda leaf: leaf[0], batch))
        else:
            # What a micro-batch computes is made anew for its derivatives, not kept beside that of the others.
            again = jax.checkpoint(lambda params, part: total(params, part)[0])
            loss = jnp.sum(jax.lax.scan(lambda _, part: (None, again(params, part)), None, batch)[1])
        return loss / count.astype(loss.dtype)

    def step(state: LoopState, batch: Any) -> tuple[LoopState, dict[str, Array]]:
        if jax.tree.leaves(batch)[0].shape[0] == 1:
            grads, sums = micro(state.params, jax.tree.map(lambda leaf: leaf[0], batch))
        else:

            def add(carried: Any, part: Any) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, carried, micro(state.params, part)), None

            shapes = jax.eval_shape(micro, state.params, jax.tree.map(lambda leaf: leaf[0], batch))
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            (grads, sums), _ = jax.lax.scan(add, zeros, batch)
        count = sums.pop("valid")
        grads = jax.tree.map(lambda leaf: leaf / count.astype(leaf.dtype), grads)
        metrics = {key: value / count.astype(value.dtype) for key, value in sums.items()}
        norm = optax.tree.norm(grads).astype(jnp.float32)
        if options.clip is not None:
            factor = jnp.minimum(1.0, options.clip / jnp.maximum(norm, 1e-30))
            grads = jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), grads)
        grads = jax.tree.map(lambda leaf, param: leaf.astype(param.dtype), grads, state.params)
        updates, opt_state = optimizer.update(
            grads, state.opt_state, state.params, obj_fn=lambda params: mean_loss(params, batch, count)
        )
        params = optax.apply_updates(state.params, updates)
        ema = _average(state.ema, params, options.ema_decay)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
        if options.on_non_finite == "skip":
            params, opt_state, ema = jax.tree.map(
                lambda new, old: jnp.where(finite, new, old),
                (params, opt_state, ema),
                (state.params, state.opt_state, state.ema),
            )
        number = state.step + 1
        following = LoopState(
            params,
            opt_state,
            ema,
            number,
            jnp.where(finite | (state.bad_step >= 0), state.bad_step, number),
            state.skipped + jnp.where(finite, 0, 1),
            jnp.where(finite, 0, state.in_a_row + 1),
        )
        return following, {**metrics, "grad_norm": norm, "valid": count}

    # The compiled step is called with its own result: it must come back laid out as it went in.
    layouts = jax.tree.map(lambda leaf: leaf.sharding, state)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(layouts, None))
    compiled: StepFn = jitted.lower(state, batch).compile()
    return compiled


def check(state: LoopState, options: LoopOptions, what: str = "Training") -> None:
    """Raise NonFinite when NaN or infinity was met, or under "skip" too often in a row; waits for the device."""
    bad_step, in_a_row = int(state.bad_step), int(state.in_a_row)
    if options.on_non_finite == "stop" and bad_step >= 0:
        raise NonFinite(
            f"{what} met NaN or infinity at step {bad_step}. A smaller learning rate, clipping or a longer warm-up may "
            "help."
        )
    if in_a_row > options.most_skips:
        raise NonFinite(
            f"{what} met NaN or infinity in {in_a_row} steps in a row, the last at step {int(state.step)}, and leaves "
            f"out at most {options.most_skips}."
        )


def cast(tree: Any, dtype: str) -> Any:
    """The tree with its floating-point leaves in `dtype`; integers stay."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def _average(ema: Any, params: Any, decay: float | None) -> Any:
    if decay is None:
        return None
    return jax.tree.map(lambda mean, leaf: decay * mean + (1 - decay) * leaf.astype(mean.dtype), ema, params)
