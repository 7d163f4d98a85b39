"""S-Shampoo: Shampoo whose factors are frequent-directions sketches.

Source: Feinberg, Chen, Sun, Anil and Hazan, "Sketchy: memory-efficient adaptive regularization with frequent
directions", NeurIPS 2023 (arXiv 2302.03764), algorithm 3, with the surroundings of its authors' code. Per block G of a
tensor with axes of more than one entry, `ndim` of them, G_i its unfolding along axis i, p = -1/(2 ndim):

    sketch_i of C_i = beta2 C_i + G_i G_i^T : basis U, roots s, escaped mass rho      (`_frequent_directions`)
    u = G, then axis after axis: u = U (s^2 + rho + e)^p U^T u + (rho + e)^p (u - U U^T u) ,  power of 0 is 0
    e = epsilon times the largest eigenvalue s_1^2 + rho
    q = G / sqrt(v + 1e-23) , v = beta2 v + (1-beta2) G^2 ;  u *= ||q|| / ||u||      over the tensor
    nesterov: m = momentum m + u , u = u + momentum m ;  average: m = momentum m + (1-momentum) u , u = m
    w -= lr ( u + weight_decay w )

`tail_decay` "sqrt_beta2" and `ridge` "update" (epsilon 1e-6 s_1^2 joins s^2 before each update and not the inverse) are
what the two public implementations do instead; the defaults are what the recursion of C_i asks for.
The authors' code is merge_dims=1024, vectors="graft"; the paper's deep-learning runs cut blocks of 1024.

Deviates: vectors are preconditioned with exponent -1/2 unless vectors="graft". Unit axes are dropped, no other axes
are merged and none is cut into blocks unless asked; a tensor with a block's axis beyond `max_axis` gets q.
Reduces to: Shampoo without normalised averages at rank >= every axis.
Cost: a block's axis of length d: a decomposition of d x (rank + n/d) each `update_every` steps, memory d k + k + 1 with
k = min(d, rank); two numbers a parameter for graft and momentum.

>>> Options(rank=8).tail_decay
'beta2'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models_core.optim._blocks import cuts, merged
from models_core.optim._dense_roots import joined
from models_core.optim._frequent_directions import TailDecay, absorb, empty, power_times
from models_core.optim._norms import norm_of
from models_core.optim._options import OptimizerOptions
from models_core.optim._stages import Rate, descend
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array

    from models_core.optim._frequent_directions import Sketch

_OPTIMIZER = "Optimizer"
# Keeps the graft's root from zero; the authors' value.
GRAFT_EPS = 1e-23


class Options(OptimizerOptions, title="S-Shampoo"):
    """Shampoo on sketched factors."""

    kind: Literal["s_shampoo"] = field(
        "s_shampoo", title="Optimizer", help="Shampoo on sketched factors (Sketchy).", section=_OPTIMIZER
    )
    lr: float = field(
        0.003, title="Learning rate", help="Step size after warm-up.", gt=0, le=100, format="log", section=_OPTIMIZER
    )
    rank: int = field(128, title="Rank", help="Directions kept of each axis.", ge=1, le=4096, section=_OPTIMIZER)
    beta2: float = field(
        0.999, title="Beta 2", help="Decay of the statistics.", gt=0, le=1, section=_OPTIMIZER, advanced=True
    )
    epsilon: float = field(
        1e-7,
        title="Epsilon",
        help="Added to the eigenvalues, relative to the largest.",
        ge=0,
        le=1,
        format="log",
        section=_OPTIMIZER,
        advanced=True,
    )
    ridge: Literal["inversion", "update"] = field(
        "inversion",
        title="Epsilon's place",
        help="When the power is taken, or in the sketch before each update.",
        section=_OPTIMIZER,
        advanced=True,
    )
    tail_decay: TailDecay = field(
        "beta2",
        title="Decay of the escaped mass",
        help="Beta 2 keeps the bound; its root remembers about twice as much.",
        section=_OPTIMIZER,
        advanced=True,
    )
    update_every: int = field(
        1, title="Update every", help="Steps between updates of the sketches.", unit="steps", ge=1, section=_OPTIMIZER
    )
    start_step: int = field(
        0,
        title="Start after",
        help="Steps of the grafted method alone before preconditioning starts; sketches fill from the first.",
        unit="steps",
        ge=0,
        section=_OPTIMIZER,
        advanced=True,
    )
    block_size: int = field(
        0,
        title="Block size",
        help="Longer axes are cut; 0 cuts none.",
        ge=0,
        le=16384,
        section=_OPTIMIZER,
        advanced=True,
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
    max_axis: int = field(
        4096, title="Longest axis", help="Tensors beyond it are only grafted.", ge=1, section=_OPTIMIZER, advanced=True
    )
    vectors: Literal["precondition", "graft"] = field(
        "precondition",
        title="Vectors",
        help="Tensors of one axis: sketched like all others, or only the grafted step.",
        section=_OPTIMIZER,
        advanced=True,
    )
    graft: Literal["rmsprop", "none"] = field(
        "rmsprop", title="Grafted norm", help="Whose step length each tensor takes.", section=_OPTIMIZER
    )
    momentum: float = field(
        0.9,
        title="Momentum",
        help="Decay of the momentum; 0 for none.",
        ge=0,
        lt=1,
        section=_OPTIMIZER,
    )
    momentum_kind: Literal["nesterov", "average"] = field(
        "nesterov",
        title="Kind of momentum",
        help="Nesterov's velocity of the steps, or their average.",
        section=_OPTIMIZER,
        advanced=True,
    )
    weight_decay: float = field(
        0.0,
        title="Weight decay",
        help="Decoupled, times the learning rate.",
        ge=0,
        le=10,
        section=_OPTIMIZER,
        advanced=True,
    )


class SShampooState(NamedTuple):
    """step: updates made. square: v of the graft. sketches: for each tensor a tuple over blocks of tuples over axes;
    () for one that is only grafted."""

    step: Array
    square: Any
    sketches: Any


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    stages = [scale_by_s_shampoo(options)]
    if options.momentum > 0:
        stages.append(momentum_of(options))
    return descend(*stages, weight_decay=options.weight_decay, rate=learning_rate)


def scale_by_s_shampoo(options: Options) -> optax.GradientTransformation:
    """The grafted direction u, before momentum."""
    import jax
    import jax.numpy as jnp
    import optax

    def computed_dtype(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32

    def init(params: Any) -> SShampooState:
        def sketches(leaf: Array) -> tuple[tuple[Sketch, ...], ...]:
            return tuple(
                tuple(empty(part.stop - part.start, options.rank, computed_dtype(leaf)) for part in cut)
                for cut in sketched_blocks(options, leaf.shape)
            )

        square = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, computed_dtype(leaf)), params)
        return SShampooState(jnp.zeros((), jnp.int32), square, jax.tree.map(sketches, params))

    def update(grads: Any, state: SShampooState, params: Any = None) -> tuple[Any, SShampooState]:
        step = optax.safe_increment(state.step)
        due = state.step % options.update_every == 0
        exact = jax.tree.map(lambda g: g.astype(computed_dtype(g)), grads)
        square = jax.tree.map(lambda v, g: options.beta2 * v + (1 - options.beta2) * g * g, state.square, exact)

        def absorbed(g: Array, sketches: Any) -> Any:
            return jax.lax.cond(due, lambda: _absorb(options, g, sketches), lambda: sketches)

        sketches = jax.tree.map(absorbed, exact, state.sketches)
        updates = jax.tree.map(
            lambda g, x, v, s: _direction(options, step, x, v, s).astype(g.dtype), grads, exact, square, sketches
        )
        return updates, SShampooState(step, square, sketches)

    return optax.GradientTransformation(init, update)


def momentum_of(options: Options) -> optax.GradientTransformation:
    """The stage after the graft."""
    import optax

    if options.momentum_kind == "average":
        return optax.ema(options.momentum, debias=False)
    return optax.trace(decay=options.momentum, nesterov=True)


def sketched_blocks(options: Options, shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The blocks of a tensor, merged, that have sketches; none if it is only grafted."""
    joint = merged(shape, options.merge_dims)
    found = cuts(joint, options.block_size)
    longest = max(part.stop - part.start for part in found[0])
    only_grafted = longest > options.max_axis or (len(joint) < 2 and options.vectors == "graft")
    return [] if only_grafted or 0 in shape else found


def _absorb(options: Options, g: Array, sketches: Any) -> Any:
    import jax.numpy as jnp

    tensor = g.reshape(merged(g.shape, options.merge_dims))
    following = []
    for cut, own in zip(sketched_blocks(options, g.shape), sketches, strict=True):
        block, absorbed = tensor[cut], []
        for axis, sketch in enumerate(own):
            if options.ridge == "update":
                raised = jnp.sqrt(sketch.roots**2 + options.epsilon * sketch.roots[0] ** 2)
                sketch = sketch._replace(roots=raised)
            unfolded = jnp.moveaxis(block, axis, 0).reshape(block.shape[axis], -1)
            absorbed.append(absorb(sketch, unfolded, options.beta2, options.tail_decay))
        following.append(tuple(absorbed))
    return tuple(following)


def _direction(options: Options, step: Array, g: Array, v: Array, sketches: Any) -> Array:
    """One tensor's grafted update."""
    import jax
    import jax.numpy as jnp

    if not sketches:
        return g * jax.lax.rsqrt(v + GRAFT_EPS)
    joint = merged(g.shape, options.merge_dims)
    tensor, parts = g.reshape(joint), []
    for cut, own in zip(sketched_blocks(options, g.shape), sketches, strict=True):
        u = tensor[cut]
        for axis, sketch in enumerate(own):
            front = jnp.moveaxis(u, axis, 0)
            largest = sketch.roots[0] ** 2 + sketch.escaped
            ridge = options.epsilon * largest if options.ridge == "inversion" else 0.0
            turned = power_times(sketch, front.reshape(front.shape[0], -1), -0.5 / len(own), ridge)
            u = jnp.moveaxis(turned.reshape(front.shape), 0, axis)
        parts.append(u)
    u = joined(parts, joint, options.block_size).reshape(g.shape)
    q = g * jax.lax.rsqrt(v + GRAFT_EPS)
    if options.graft == "rmsprop":
        length = norm_of(lambda x, y: x * jax.lax.rsqrt(y + GRAFT_EPS), g, v)
        own_length = norm_of(lambda x: x, u)
        u = u * jnp.where(own_length > 0, length / jnp.where(own_length > 0, own_length, 1), 0)
    return jnp.where(step > options.start_step, u, q) if options.start_step else u
