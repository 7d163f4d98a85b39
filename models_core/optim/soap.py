"""SOAP: Adam in the eigenbasis of Shampoo's factors.

Source: Vyas et al., "SOAP: improving and stabilizing Shampoo using Adam", ICLR 2025 (arXiv 2409.11321), algorithm 3.
Per tensor g, for every axis i of at most `max_axis` entries (others, and vectors unless `vectors`, keep Q_i = I):

    m = beta1 m + (1-beta1) g ;  v = beta2 v + (1-beta2) (Q^T g)^2           Q^T: every axis turned by its Q_i^T
    u = Q [ Q^T m / (sqrt(v) + eps) ] sqrt(1-beta2^t) / (1-beta1^t) ;  w -= lr u ;  w -= lr weight_decay w
    L_i = shampoo_beta L_i + (1-shampoo_beta) G_i G_i^T
    every `update_every` steps: columns of Q_i and entries of v by falling diag(Q_i^T L_i Q_i), then Q_i = qr(L_i Q_i)

The first step only fills L_i and takes Q_i from its eigenvectors: parameters do not move, and t counts from the next.
eps is added before the bias corrections, so that its weight grows with t, as in the authors' code.

Deviates: directions that L_i does not determine (its null space, large at first for long axes) are completed by the
reflections of a QR decomposition, the same in every framework; the authors take what their library returns.
Reduces to: Adam where no axis is turned, one step late.
Cost: an axis of length d: 2 d^2 numbers and O(d^3) every `update_every` steps; two numbers a parameter.

>>> Options().update_every
10
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models_core.optim._blocks import merged
from models_core.optim._dense_roots import along, gram
from models_core.optim._options import (
    OptimizerOptions,
    decay_field,
    eps_field,
    kind_field,
    lr_field,
    weight_decay_field,
)
from models_core.optim._stages import Rate, flattened
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array


class Options(OptimizerOptions, title="SOAP"):
    """Adam in the eigenbasis of Shampoo's factors."""

    kind: Literal["soap"] = kind_field("soap", "Adam in the eigenbasis of Shampoo's factors (SOAP).")
    lr: float = lr_field(0.003)
    beta1: float = decay_field(0.95, "Beta 1", "Decay of the mean gradient.")
    beta2: float = decay_field(0.95, "Beta 2", "Decay of the mean square in the turned space.")
    shampoo_beta: float | None = field(
        None,
        title="Decay of the factors",
        help="Empty: that of the mean square.",
        ge=0,
        lt=1,
        section="Optimizer",
        advanced=True,
    )
    eps: float = eps_field(1e-8, "Added to the root of the mean square.")
    update_every: int = field(
        10, title="Update every", help="Steps between turns of the bases.", unit="steps", ge=1, section="Optimizer"
    )
    max_axis: int = field(
        10000, title="Longest axis", help="Longer ones are not turned.", ge=1, section="Optimizer", advanced=True
    )
    merge_dims: int | None = field(
        None,
        title="Merge axes up to",
        help="Neighbouring axes join while their product stays within this; empty: axes stay as they are.",
        ge=1,
        section="Optimizer",
        advanced=True,
    )
    vectors: bool = field(
        False, title="Turn vectors", help="Also tensors of one axis.", section="Optimizer", advanced=True
    )
    bias_correction: bool = field(
        True, title="Bias correction", help="Of both moments, as in Adam.", section="Optimizer", advanced=True
    )
    normalize: bool = field(
        False,
        title="Normalize",
        help="Every tensor's step to root mean square one.",
        section="Optimizer",
        advanced=True,
    )
    weight_decay: float = weight_decay_field(0.01)


class Axis(NamedTuple):
    """L_i and Q_i, both (d, d)."""

    factor: Array
    basis: Array


class SoapState(NamedTuple):
    """step: updates made, the first included. mean, square: m and v, trees. axes: for each tensor a tuple over its
    axes, () for one that is not turned."""

    step: Array
    mean: Any
    square: Any
    axes: Any


def turned(options: Options, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The shape in which a tensor is worked on, and which of its axes are turned."""
    worked = merged(shape, options.merge_dims) if options.merge_dims else shape
    fits = tuple(0 < d <= options.max_axis and (len(worked) > 1 or options.vectors) for d in worked)
    return worked, fits


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates, the first included."""
    import jax
    import jax.numpy as jnp
    import optax

    def exact(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32

    def init(params: Any) -> SoapState:
        def zeros() -> Any:
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, exact(leaf)), params)

        def axes(leaf: Array) -> tuple[Any, ...]:
            shape, fits = turned(options, leaf.shape)
            return tuple(
                Axis(jnp.zeros((d, d), exact(leaf)), jnp.eye(d, dtype=exact(leaf))) if fit else ()
                for d, fit in zip(shape, fits, strict=True)
            )

        return SoapState(jnp.zeros((), jnp.int32), zeros(), zeros(), jax.tree.map(axes, params))

    def update(grads: Any, state: SoapState, params: Any = None) -> tuple[Any, SoapState]:
        rate = learning_rate(state.step) if callable(learning_rate) else learning_rate
        leaves, structure = flattened(grads)
        weights = structure.flatten_up_to(params) if options.weight_decay > 0 else leaves
        parts = (structure.flatten_up_to(tree) for tree in (state.mean, state.square, state.axes))
        results = [
            _advance(options, state.step, rate, g, w, *rest)
            for g, w, *rest in zip(leaves, weights, *parts, strict=True)
        ]
        updates, mean, square, axes = (structure.unflatten(part) for part in zip(*results, strict=True))
        return updates, SoapState(optax.safe_increment(state.step), mean, square, axes)

    return optax.GradientTransformation(init, update)


def _advance(
    options: Options, step: Array, rate: Any, gradient: Array, weight: Array, m: Array, v: Array, axes: tuple[Any, ...]
) -> tuple[Array, Array, Array, tuple[Any, ...]]:
    """One tensor's change of its parameters and its new m, v and axes; `step` updates were made before."""
    import jax
    import jax.numpy as jnp

    if gradient.size == 0:
        return gradient, m, v, axes
    shape, _ = turned(options, gradient.shape)
    g = gradient.astype(v.dtype).reshape(shape)
    moves, t = step > 0, step.astype(v.dtype)

    def turn(x: Array, *, back: bool = False) -> Array:
        for i, axis in enumerate(axes):
            if axis:
                x = along(x, axis.basis if back else axis.basis.T, i)
        return x

    m_new = options.beta1 * m.reshape(shape) + (1 - options.beta1) * g
    v_new = options.beta2 * v.reshape(shape) + (1 - options.beta2) * turn(g) ** 2
    u = turn(turn(m_new) / (jnp.sqrt(v_new) + options.eps), back=True)
    if options.normalize:
        u = u / (1e-30 + jnp.sqrt(jnp.mean(u * u)))
    if options.bias_correction:
        u = u * jnp.where(moves, jnp.sqrt(1 - options.beta2**t) / jnp.where(moves, 1 - options.beta1**t, 1), 0)
    change = -jnp.asarray(rate, v.dtype) * u.reshape(gradient.shape)
    if options.weight_decay > 0:
        change = change - jnp.asarray(rate, v.dtype) * options.weight_decay * (weight.astype(v.dtype) + change)
    beta = options.beta2 if options.shampoo_beta is None else options.shampoo_beta
    factors = [axis and beta * axis.factor + (1 - beta) * gram(g, i) for i, axis in enumerate(axes)]
    bases = [axis and axis.basis for axis in axes]

    def first() -> tuple[Array, list[Any]]:
        # Against a factor of no mass every direction is as good as another.
        return jnp.zeros_like(v_new), [_eigenbasis(f) if axis else () for f, axis in zip(factors, axes, strict=True)]

    def refreshed() -> tuple[Array, list[Any]]:
        square = v_new
        found: list[Any] = []
        for i, (factor, basis) in enumerate(zip(factors, bases, strict=True)):
            if not axes[i]:
                found.append(())
                continue
            order = jnp.argsort(-jnp.sum(basis * (factor @ basis), axis=0))
            square = jnp.take(square, order, axis=i)
            found.append(determined(factor @ basis[:, order]))
        return square, found

    due = (step > 0) & (step % options.update_every == 0)
    which = jnp.where(step == 0, 0, jnp.where(due, 1, 2))
    square, bases = jax.lax.switch(which, [first, refreshed, lambda: (v_new, bases)])
    kept = tuple(Axis(f, b) if axis else () for f, b, axis in zip(factors, bases, axes, strict=True))
    mean = jnp.where(moves, m_new, 0).reshape(gradient.shape)
    return jnp.where(moves, change, 0).astype(gradient.dtype), mean, square.reshape(gradient.shape), kept


def _eigenbasis(factor: Array) -> Array:
    """Eigenvectors by falling eigenvalue, completed where the factor says nothing."""
    import jax.numpy as jnp
    import numpy as np

    values, vectors = jnp.linalg.eigh(factor)
    tiny = float(np.finfo(values.dtype).eps) * values.size * values[-1]
    return jnp.linalg.qr((vectors * (values > tiny).astype(values.dtype)[None, :])[:, ::-1])[0]


def determined(columns: Array) -> Array:
    """The orthogonal factor of `columns` (d, d); what depends on rounding alone is replaced by the complement that
    the other columns' reflections leave."""
    import jax.numpy as jnp
    import numpy as np

    q, r = jnp.linalg.qr(columns)
    size = jnp.abs(jnp.diagonal(r))
    sound = size > float(np.finfo(size.dtype).eps) * size.size * jnp.max(size)
    return jnp.linalg.qr(q * sound.astype(q.dtype)[None, :])[0]
