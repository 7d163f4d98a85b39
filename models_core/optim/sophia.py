"""Sophia: momentum over a running estimate of the Hessian's diagonal, each entry clipped.

Source: Liu et al., "Sophia: a scalable stochastic second-order optimizer for language model pre-training", ICLR 2024
(arXiv 2305.14342), algorithm 3 with the estimator of algorithm 1 (Hutchinson's: Sophia-H). Each update, counted from 0:

    m = beta1 m + (1-beta1) g
    every `update_every` updates, the first included: h = beta2 h + (1-beta2) s (H s)     s: random signs, H = d2L/dw2
    w -= lr ( clip(m / max(gamma h, eps), rho) + weight_decay w )                         clip: to [-rho, rho]

Where curvature is small or negative the step is rho times the sign of m; the larger gamma, the fewer entries are
clipped (the paper keeps 10 to 50 % unclipped). H s is the derivative of the gradient's product with s, taken backwards
twice, of the same batch as the gradient: `update` wants the loss as a function of the parameters, `obj_fn`. Signs are a
hash of (`seed`, update, tensor, entry): see `models_core.optim._probes`.

`convention="optax"` is that of optax.contrib.sophia: m / (1-beta1^t) for m, and an estimate that acts from the next
update on (in the first one h is 0 and every step as long as rho allows).

Deviates: signs instead of normal numbers for s, as in optax, which has the lower variance; the whole batch for H s,
where the paper takes a part of it; an entry whose estimate is not finite keeps its h. Gauss-Newton-Bartlett (Sophia-G)
is not offered: it samples labels from the model's output, which a loss does not tell.
Reduces to: rho times the sign of the momentum as gamma and eps go to 0; Newton's method on a separable quadratic at
beta1 = beta2 = 0, gamma = lr = 1 and a rho that clips nothing.
Cost: two numbers a parameter; in one update of `update_every` about two to three more gradients, and their memory.

>>> Options().update_every
10
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from models_core.errors import CoreError
from models_core.optim._options import (
    OptimizerOptions,
    decay_field,
    eps_field,
    kind_field,
    lr_field,
    weight_decay_field,
)
from models_core.optim._probes import signs
from models_core.optim._stages import Rate, flattened
from models_core.spec import field

if TYPE_CHECKING:
    from collections.abc import Callable

    import optax
    from jax import Array


class Options(OptimizerOptions, title="Sophia"):
    """Momentum over the Hessian's diagonal, clipped."""

    wants_loss: ClassVar[bool] = True

    kind: Literal["sophia"] = kind_field("sophia", "Momentum over the Hessian's diagonal, clipped (Sophia-H).")
    lr: float = lr_field(0.001)
    beta1: float = decay_field(0.96, "Beta 1", "Decay of the mean gradient.")
    beta2: float = decay_field(0.99, "Beta 2", "Decay of the mean curvature, by its updates.")
    rho: float = field(
        1.0, title="Clip", help="Longest step of an entry, times the learning rate.", gt=0, le=1e6, section="Optimizer"
    )
    gamma: float = field(
        0.01,
        title="Gamma",
        help="Weight of the curvature: the larger, the fewer entries are clipped.",
        gt=0,
        le=1e6,
        format="log",
        section="Optimizer",
    )
    eps: float = eps_field(1e-12, "Least curvature that is divided by.")
    update_every: int = field(
        10, title="Update every", help="Steps between estimates of curvature.", unit="steps", ge=1, section="Optimizer"
    )
    convention: Literal["paper", "optax"] = field(
        "paper",
        title="Convention",
        help="The paper's, or optax's: momentum corrected for its start, curvature from the next step on.",
        section="Optimizer",
        advanced=True,
    )
    seed: int = field(
        0, title="Seed", help="Of the random signs.", ge=0, le=2**31 - 1, section="Optimizer", advanced=True
    )
    weight_decay: float = weight_decay_field()


class LossNeeded(CoreError):
    """An optimizer that differentiates the loss was not given it; `fields` names the argument."""

    code = "optim.loss_needed"


class SophiaState(NamedTuple):
    """step: updates made. mean, curvature: m and h, trees."""

    step: Array
    mean: Any
    curvature: Any


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformationExtraArgs:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates.

    Its `update(grads, state, params, obj_fn=...)` takes the loss of the same batch, a function of the parameters alone
    with a scalar result. Raises LossNeeded without it or without parameters.
    """
    import jax
    import jax.numpy as jnp
    import optax

    def init(params: Any) -> SophiaState:
        def zeros() -> Any:
            def zero(leaf: Array) -> Array:
                return jnp.zeros(leaf.shape, jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32)

            return jax.tree.map(zero, params)

        return SophiaState(jnp.zeros((), jnp.int32), zeros(), zeros())

    def update(
        grads: Any, state: SophiaState, params: Any = None, *, obj_fn: Callable[[Any], Array] | None = None, **_: Any
    ) -> tuple[Any, SophiaState]:
        if params is None or obj_fn is None:
            missing = "obj_fn" if obj_fn is None else "params"
            raise LossNeeded(
                "Sophia differentiates the loss once more: call update(grads, state, params, obj_fn=loss), where "
                "loss(params) is the scalar whose gradient was taken.",
                fields={missing: "Is missing."},
            )

        def absorbed() -> Any:
            def absorb(h: Array, estimate: Array) -> Array:
                mixed = options.beta2 * h + (1 - options.beta2) * estimate.astype(h.dtype)
                return jnp.where(jnp.isfinite(estimate), mixed, h)

            return jax.tree.map(absorb, state.curvature, diagonal(obj_fn, params, seed=options.seed, step=state.step))

        count = optax.safe_increment(state.step)
        curvature = jax.lax.cond(state.step % options.update_every == 0, absorbed, lambda: state.curvature)
        acting = curvature if options.convention == "paper" else state.curvature
        rate = learning_rate(state.step) if callable(learning_rate) else learning_rate

        def averaged(m: Array, g: Array) -> Array:
            return options.beta1 * m + (1 - options.beta1) * g.astype(m.dtype)

        def change(g: Array, w: Array, m: Array, h: Array) -> Array:
            if options.convention == "optax":
                m = m / (1 - options.beta1 ** count.astype(m.dtype))
            u = jnp.clip(m / jnp.maximum(options.gamma * h, options.eps), -options.rho, options.rho)
            if options.weight_decay > 0:
                u = u + options.weight_decay * w.astype(u.dtype)
            return (-jnp.asarray(rate, u.dtype) * u).astype(g.dtype)

        mean = jax.tree.map(averaged, state.mean, grads)
        return jax.tree.map(change, grads, params, mean, acting), SophiaState(count, mean, curvature)

    return optax.GradientTransformationExtraArgs(init, update)


def diagonal(obj_fn: Callable[[Any], Array], params: Any, *, seed: int, step: Array) -> Any:
    """Hutchinson's estimate s (H s) of the diagonal of obj_fn's Hessian, a tree like params: its mean over s is it."""
    import jax

    leaves, structure = flattened(params)
    probes = structure.unflatten([signs(seed, step, place, leaf) for place, leaf in enumerate(leaves)])
    # Backwards over backwards: derivatives that are written by hand have no forward mode.
    (products,) = jax.vjp(jax.grad(obj_fn), params)[1](probes)
    return jax.tree.map(lambda s, product: s * product, probes, products)
