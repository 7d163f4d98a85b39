"""Shampoo: a full preconditioner for each axis of a tensor.

Source: Gupta, Koren and Singer, "Shampoo: preconditioned stochastic tensor optimization", ICML 2018, algorithms 1 and
2; blocks, grafting and intervals: Anil, Gupta, Koren, Regan and Singer, "Scalable second order optimization for deep
learning", 2020 (arXiv 2002.09018). Per tensor, cut into blocks G, `ndim` axes of more than one entry, G_i the
unfolding along axis i:

    m = beta1 m + (1-beta1) g ,  d = m/(1-beta1^t)           momentum="gradient"; otherwise d = g
    L_i = beta2 L_i + (1-beta2) G_i G_i^T                    beta2 = 1: L_i += G_i G_i^T
    R_i = (L_i/(1-beta2^t) + e I)^(-1/(2 ndim))              anew every `update_every` steps, from `start_step` on
    u = d with R_i applied to every axis ;  u *= ||q|| / ||u|| over the tensor, q the step of the method in `graft`
    average: m = beta1 m + (1-beta1) u, u = m ;  nesterov: m = beta1 m + u, u = u + beta1 m
    w -= lr (u + weight_decay w)                             the first `start_step` steps: u = q

Deviates: roots by eigendecomposition, where the second paper iterates; the factors start at zero and e is added where
the power is taken, the first paper starts them at e I. Unit axes are dropped; `merge_dims` joins more.
Reduces to: full-matrix AdaGrad for a vector at beta1 = 0, beta2 = 1, graft "none", no `bias_correction`.
Cost: for an axis of block length d: d^2 numbers for the factor and d^2 for its root, O(d^3) each root; one number a
parameter for the graft, one for the momentum.

>>> Options(block_size=256).update_every
10
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models_core.optim._blocks import cuts, merged
from models_core.optim._dense_roots import EpsilonScale, along, gram, inverse_power, joined
from models_core.optim._norms import norm_of
from models_core.optim._options import (
    OptimizerOptions,
    decay_field,
    eps_field,
    kind_field,
    lr_field,
    weight_decay_field,
)
from models_core.optim._stages import Rate, descend, flattened
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array

_OPTIMIZER = "Optimizer"


class Options(OptimizerOptions, title="Shampoo"):
    """A full preconditioner for each axis."""

    kind: Literal["shampoo"] = kind_field("shampoo", "A full preconditioner for each axis, in blocks (Shampoo).")
    lr: float = lr_field(0.003)
    beta1: float = decay_field(0.9, "Beta 1", "Decay of the momentum; 0 for none.")
    momentum: Literal["gradient", "average", "nesterov"] = field(
        "gradient",
        title="Momentum",
        help="Average of the gradients before preconditioning, average of the steps, or their velocity.",
        section=_OPTIMIZER,
        advanced=True,
    )
    beta2: float = field(
        0.999, title="Beta 2", help="Decay of the factors; 1 sums.", gt=0, le=1, section=_OPTIMIZER, advanced=True
    )
    bias_correction: bool = field(
        True,
        title="Bias correction",
        help="Of the factors and of the graft's second moment; nothing to correct in sums.",
        section=_OPTIMIZER,
        advanced=True,
    )
    epsilon: float = eps_field(1e-12, "Added to the factors' eigenvalues.")
    epsilon_scale: EpsilonScale = field(
        "absolute",
        title="Epsilon's scale",
        help="Relative: times the factor's largest eigenvalue.",
        section=_OPTIMIZER,
        advanced=True,
    )
    block_size: int = field(
        1024, title="Block size", help="Longer axes are cut; 0 cuts none.", ge=0, le=16384, section=_OPTIMIZER
    )
    merge_dims: int = field(
        1,
        title="Merge axes up to",
        help="Neighbouring axes join while their product stays within this; 1 drops unit axes only.",
        ge=1,
        le=16384,
        section=_OPTIMIZER,
        advanced=True,
    )
    update_every: int = field(
        10, title="Update every", help="Steps between roots of the factors.", unit="steps", ge=1, section=_OPTIMIZER
    )
    start_step: int = field(
        0,
        title="Start after",
        help="Steps of the grafted method alone before preconditioning starts.",
        unit="steps",
        ge=0,
        section=_OPTIMIZER,
        advanced=True,
    )
    graft: Literal["adam", "rmsprop", "rmsprop_normalized", "sgd", "none"] = field(
        "adam",
        title="Grafted norm",
        help="Whose step length each tensor takes; normalized: of gradients of length one.",
        section=_OPTIMIZER,
    )
    graft_eps: float = eps_field(1e-8, "Added to the root in the grafted method's step.", "Epsilon of the graft")
    weight_decay: float = weight_decay_field()


class Axis(NamedTuple):
    """L_i and R_i of one axis of one block, both (d, d)."""

    factor: Array
    root: Array


class ShampooState(NamedTuple):
    """step: updates made. mean: m (or () without momentum). square: the graft's second moment (or ()). blocks: for
    each tensor a tuple over blocks of tuples over axes."""

    step: Array
    mean: Any
    square: Any
    blocks: Any


def exponent_of(ndim: int) -> float:
    """-1/(2 ndim)."""
    return -0.5 / ndim


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    return descend(scale_by_shampoo(options), weight_decay=options.weight_decay, rate=learning_rate)


def scale_by_shampoo(options: Options) -> optax.GradientTransformation:
    """The direction u of the module's docstring, before learning rate and weight decay."""
    import jax
    import jax.numpy as jnp
    import optax

    averages, grafts = options.beta1 > 0, options.graft not in ("sgd", "none")

    def exact_dtype(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32

    def init(params: Any) -> ShampooState:
        def zeros() -> Any:
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, exact_dtype(leaf)), params)

        def blocks(leaf: Array) -> tuple[tuple[Axis, ...], ...]:
            if leaf.size == 0:
                return ()
            sizes = [
                [s.stop - s.start for s in cut]
                for cut in cuts(merged(leaf.shape, options.merge_dims), options.block_size)
            ]
            dtype = exact_dtype(leaf)
            return tuple(tuple(Axis(jnp.zeros((d, d), dtype), jnp.eye(d, dtype=dtype)) for d in size) for size in sizes)

        return ShampooState(
            jnp.zeros((), jnp.int32),
            zeros() if averages else (),
            zeros() if grafts else (),
            jax.tree.map(blocks, params),
        )

    def update(grads: Any, state: ShampooState, params: Any = None) -> tuple[Any, ShampooState]:
        step = optax.safe_increment(state.step)
        leaves, structure = flattened(grads)
        means = structure.flatten_up_to(state.mean) if averages else [None] * len(leaves)
        squares = structure.flatten_up_to(state.square) if grafts else [None] * len(leaves)
        results = [
            _advance(options, step, g, m, v, blocks)
            for g, m, v, blocks in zip(leaves, means, squares, structure.flatten_up_to(state.blocks), strict=True)
        ]
        updates, mean, square, blocks = (structure.unflatten(part) for part in zip(*results, strict=True))
        return updates, ShampooState(step, mean if averages else (), square if grafts else (), blocks)

    return optax.GradientTransformation(init, update)


def _advance(
    options: Options,
    step: Array,
    gradient: Array,
    m: Array | None,
    v: Array | None,
    blocks: tuple[tuple[Axis, ...], ...],
) -> tuple[Array, Array | None, Array | None, tuple[tuple[Axis, ...], ...]]:
    """One tensor's u and its new m, v and blocks."""
    import jax
    import jax.numpy as jnp

    if gradient.size == 0:
        return gradient, m, v, blocks
    g = gradient.astype(jnp.float64 if gradient.dtype == jnp.float64 else jnp.float32)
    t = step.astype(g.dtype)
    own, square_weight = 1 - options.beta2 or 1.0, jnp.ones((), g.dtype)
    if options.bias_correction and options.beta2 < 1:
        square_weight = 1 / (1 - options.beta2**t)
    direction, before = g, options.momentum == "gradient"
    if m is not None and before:
        m = options.beta1 * m + (1 - options.beta1) * g
        direction = m / (1 - options.beta1**t)
    if v is not None:
        scaled = g / (norm_of(lambda x: x, g) + 1e-16) if options.graft == "rmsprop_normalized" else g
        v = options.beta2 * v + own * scaled * scaled
    shape = merged(g.shape, options.merge_dims)
    places = cuts(shape, options.block_size)
    tensor = g.reshape(shape)
    sums = tuple(
        tuple(
            # A gradient that is not finite would stay in the factor for good.
            _finite_or(axis.factor, options.beta2 * axis.factor + own * gram(tensor[cut], i))
            for i, axis in enumerate(axes)
        )
        for cut, axes in zip(places, blocks, strict=True)
    )
    exponent = exponent_of(len(shape))

    def anew() -> Any:
        return tuple(
            tuple(
                _finite_or(
                    axis.root, inverse_power(factor * square_weight, exponent, options.epsilon, options.epsilon_scale)
                )
                for factor, axis in zip(factors, axes, strict=True)
            )
            for factors, axes in zip(sums, blocks, strict=True)
        )

    due = ((step - 1) % options.update_every == 0) | (step == options.start_step + 1)
    roots = jax.lax.cond(
        due & (step > options.start_step), anew, lambda: tuple(tuple(axis.root for axis in axes) for axes in blocks)
    )
    parts = []
    for cut, matrices in zip(places, roots, strict=True):
        part = direction.reshape(shape)[cut]
        for i, root in enumerate(matrices):
            part = along(part, root, i)
        parts.append(part)
    u = joined(parts, shape, options.block_size).reshape(g.shape)
    q = _graft(options, g, direction, v, square_weight)
    if options.graft != "none":
        length = norm_of(lambda x: x, u)
        u = u * jnp.where(length > 0, norm_of(lambda x: x, q) / jnp.where(length > 0, length, 1), 0)
    u = jnp.where(step > options.start_step, u, q)
    if m is not None and not before:
        averaged = options.momentum == "average"
        m = options.beta1 * m + ((1 - options.beta1) * u if averaged else u)
        u = m if averaged else u + options.beta1 * m
    kept = tuple(
        tuple(Axis(factor, root) for factor, root in zip(*pair, strict=True)) for pair in zip(sums, roots, strict=True)
    )
    return u.astype(gradient.dtype), m, v, kept


def _graft(options: Options, g: Array, direction: Array, v: Array | None, square_weight: Array) -> Array:
    """q, the step of the grafted method; that of gradient descent without one."""
    import jax.numpy as jnp

    if v is None:
        return direction
    if options.graft == "adam":
        return direction / (jnp.sqrt(v * square_weight) + options.graft_eps)
    scaled = g / (norm_of(lambda x: x, g) + 1e-16) if options.graft == "rmsprop_normalized" else g
    return scaled / (jnp.sqrt(v) + options.graft_eps)


def _finite_or(old: Array, new: Array) -> Array:
    import jax.numpy as jnp

    checked: Array = jnp.where(jnp.all(jnp.isfinite(new)), new, old)
    return checked
