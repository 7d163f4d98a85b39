"""SONew, sparsified online Newton: precondition by the inverse of the chain-structured completion of the statistics.

Source: Devvrit, Duvvuri, Anil, Gupta, Hsieh and Dhillon, "A computationally efficient sparsified online Newton method",
NeurIPS 2023 (arXiv 2311.10085), tridiagonal closed form and algorithm 3 (edge removal).

Per tensor, its entries in a chain j = 0..n-1 along the fan-in of each output unit (last axis = outputs), g = gradient:

    m = beta1 m + (1-beta1) g ;  v = beta2 v + (1-beta2) g_j^2 ;  e = beta2 e + (1-beta2) g_j g_{j+1}
    mh = m/(1-beta1^t) ;  a = v/(1-beta2^t) + eps ;  b = e/(1-beta2^t)
    c_j = a_j - b_j^2/a_{j+1} ;  psi_j = b_j/a_{j+1} ;  where c_j <= gamma a_j: psi_j = 0, c_j = a_j  (the edge is cut)
    y_j = (mh_j - psi_j mh_{j+1}) / c_j ;  u_0 = y_0 ,  u_{j+1} = y_{j+1} - psi_j y_j     that is, u = X mh
    u *= ||q|| / ||u|| , q the step of the method in `graft` ;  w -= lr (u + weight_decay w)

X satisfies X^-1 = H on the diagonal and on every kept edge, and X = 0 elsewhere. Band b > 1 couples each entry with b
neighbours on each side and eliminates in a window of them (`_banded`, which also says what `edge_rule` removes). There
is no square root: ungrafted, u scales as 1/g.

The authors' PyTorch code is order="row_major", beta2=0.999, gamma=0, graft="official". Their JAX research code is
eps_scale="research", gamma=0, vectors="adam" and any graft but "official" and "rmsprop" for the tridiagonal form,
eps_scale="research" and edge_rule="floor" for bands.

Deviates: momentum is preconditioned, statistics are moving averages with bias correction (as in the authors' code; the
theory sums and preconditions g). gamma is relative to a_j and defaults to the rounding unit; the authors' later code
cuts at c_j <= 0. Algorithm 3 is rebuilt from its description, and so is `edge_rule` "reweight". The graft's v is bias
corrected unless graft = "official". A tensor whose u is zero stays where it is; the authors divide 0 by 0.
Reduces to: u = mh / (v_hat + eps) at band 0; X = H^-1 at band n - 1.
Cost: time O(n) elementwise; above band 1 O(n band^4), but in registers and in two passes over memory, and O(n band^2)
in PyTorch that is not compiled, which makes as many passes. Temporary memory 2 n. State: band + 2 numbers a parameter,
in float32 even for bfloat16 parameters unless `statistics` says otherwise.

>>> Options(band=1, graft="none").beta2
0.99
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models_core.optim._banded import EdgeRule, Order, averaged_product, precondition, shift
from models_core.optim._norms import norm_of
from models_core.optim._options import (
    OptimizerOptions,
    decay_field,
    eps_field,
    kind_field,
    lr_field,
    weight_decay_field,
)
from models_core.optim._stages import Rate, descend
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array

    Tree = Any


# Least epsilon of the authors' research code, and what keeps its unit gradients from 0 / 0.
RESEARCH_FLOOR = 1e-16
UNIT_EPS = 1e-16


class Options(OptimizerOptions, title="SONew"):
    """Sparsified online Newton."""

    kind: Literal["sonew"] = kind_field("sonew", "Sparsified online Newton (SONew).")
    lr: float = lr_field(0.003)
    band: int = field(
        1,
        title="Band",
        help="Neighbours coupled on each side: 0 is diagonal, 1 tridiagonal.",
        ge=0,
        le=8,
        section="Optimizer",
    )
    order: Order = field(
        "fan_in",
        title="Order of the chain",
        help="Along the inputs of each output unit, or as the entries lie in memory.",
        section="Optimizer",
        advanced=True,
    )
    beta1: float = decay_field(0.9, "Beta 1", "Decay of the mean gradient.")
    beta2: float = decay_field(0.99, "Beta 2", "Decay of the second-moment statistics.")
    eps: float = eps_field(1e-8, "Added to the diagonal of the statistics.")
    eps_scale: Literal["absolute", "relative", "research"] = field(
        "absolute",
        title="Epsilon's scale",
        help="Relative: times the largest absolute row sum of the tensor's statistics; research: the authors' sum.",
        section="Optimizer",
        advanced=True,
    )
    gamma: float | None = field(
        None,
        title="Edge threshold",
        help="Cut an edge where the conditional variance is below this share of the variance; empty: rounding unit.",
        ge=0,
        lt=1,
        section="Optimizer",
        advanced=True,
    )
    edge_rule: EdgeRule = field(
        "minimal_cut",
        title="Edge rule",
        help="What gives way where the statistics are nearly singular: few edges, all of an entry's, or their weight.",
        section="Optimizer",
        advanced=True,
    )
    vectors: Literal["chain", "adam"] = field(
        "chain",
        title="Vectors",
        help="Tensors of one axis: chained like all others, or left to Adam.",
        section="Optimizer",
        advanced=True,
    )
    statistics: Literal["float32", "bfloat16"] = field(
        "float32",
        title="Precision of the statistics",
        help="How they are stored; computation is in float32. Half the memory in bfloat16, more edges cut.",
        section="Optimizer",
        advanced=True,
    )
    graft: Literal["adam", "official", "rmsprop", "rmsprop_normalized", "momentum", "sgd", "none"] = field(
        "adam",
        title="Grafted norm",
        help="Whose step length each tensor takes; official: Adam without correcting the second moment's bias; "
        "normalized: of gradients of length one.",
        section="Optimizer",
    )
    graft_eps: float = eps_field(1e-8, "Added to the root in the grafted method's step.", "Epsilon of the graft")
    weight_decay: float = weight_decay_field()


class SonewState(NamedTuple):
    """step: updates made. mean, square: m and v. couplings: for k = 1..band, the averages of g_j g_{j+k}. unit: the
    mean square of gradients of length one, if that is grafted."""

    step: Array
    mean: Tree
    square: Tree
    couplings: tuple[Tree, ...]
    unit: Tree = ()


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    return descend(scale_by_sonew(options), weight_decay=options.weight_decay, rate=learning_rate)


def scale_by_sonew(options: Options) -> optax.GradientTransformation:
    """The direction u of the module's docstring, before learning rate and weight decay."""
    import jax
    import jax.numpy as jnp
    import optax

    def stored_dtype(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.dtype(options.statistics)

    def computed_dtype(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32

    def init(params: Tree) -> SonewState:
        def zeros() -> Tree:
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, stored_dtype(leaf)), params)

        unit = zeros() if options.graft == "rmsprop_normalized" else ()
        return SonewState(jnp.zeros((), jnp.int32), zeros(), zeros(), tuple(zeros() for _ in range(options.band)), unit)

    def update(grads: Tree, state: SonewState, params: Tree | None = None) -> tuple[Tree, SonewState]:
        step = optax.safe_increment(state.step)
        exact = jax.tree.map(lambda leaf: leaf.astype(computed_dtype(leaf)), grads)
        mean = jax.tree.map(lambda m, g: _average(m, g, options.beta1), state.mean, exact)
        square = jax.tree.map(lambda v, g: _average(v, g * g, options.beta2), state.square, exact)
        couplings = tuple(
            jax.tree.map(
                lambda e, g, k=k: averaged_product(e.astype(g.dtype), g, k, options.beta2, options.order).astype(
                    e.dtype
                ),
                coupling,
                exact,
            )
            for k, coupling in enumerate(state.couplings, start=1)
        )
        grafted, unit = exact, state.unit
        if options.graft == "rmsprop_normalized":
            grafted = jax.tree.map(lambda g: g / (norm_of(lambda x: x, g) + UNIT_EPS), exact)
            unit = jax.tree.map(lambda d, g: _average(d, g * g, options.beta2), state.unit, grafted)
            grafted = jax.tree.map(lambda g, d: g / (jnp.sqrt(d.astype(g.dtype)) + options.graft_eps), grafted, unit)
        updates = jax.tree.map(
            lambda g, x, q, m, v, *e: _direction(options, step, x, q, m, v, e).astype(g.dtype),
            grads,
            exact,
            grafted,
            mean,
            square,
            *couplings,
        )
        return updates, SonewState(step, mean, square, couplings, unit)

    return optax.GradientTransformation(init, update)


def _direction(options: Options, step: Array, g: Array, q: Array, m: Array, v: Array, e: tuple[Array, ...]) -> Array:
    """One tensor's grafted update; m, v, e are its new raw averages, as stored; q the step of a graft that has
    statistics of its own, else g."""
    import jax.numpy as jnp
    import numpy as np

    if v.size == 0:
        return g
    unit = float(jnp.finfo(v.dtype).eps)  # type: ignore[no-untyped-call]
    m, v, *e_exact = (x.astype(g.dtype) for x in (m, v, *e))
    t = step.astype(v.dtype)
    mean_weight, square_weight = 1 / (1 - options.beta1**t), 1 / (1 - options.beta2**t)
    if options.vectors == "adam" and g.ndim < 2:
        return m * mean_weight / (jnp.sqrt(v * square_weight) + options.graft_eps)
    # X scales as 1/H: the bias correction of H goes into epsilon and, without a graft, into the result.
    ridge = jnp.asarray(options.eps, v.dtype) / square_weight
    if options.eps_scale != "absolute":
        floor = RESEARCH_FLOOR if options.eps_scale == "research" else float(np.finfo(v.dtype).tiny)
        ridge = jnp.maximum(options.eps * jnp.max(_row_sums(options, v, tuple(e_exact))), floor / square_weight)
    gamma = unit if options.gamma is None else options.gamma
    u, own = precondition(v, tuple(e_exact), m, gamma, options.edge_rule, options.order, ridge)
    match options.graft:
        case "none":
            return u * (mean_weight / square_weight)
        case "sgd" | "rmsprop_normalized":
            length = norm_of(lambda x: x, q)
        case "momentum":
            length = norm_of(lambda x: x * mean_weight, m)
        case "rmsprop":
            length = norm_of(lambda x, y: x / (jnp.sqrt(y * square_weight) + options.graft_eps), g, v)
        case "adam":
            length = norm_of(lambda x, y: x * mean_weight / (jnp.sqrt(y * square_weight) + options.graft_eps), m, v)
        case "official":
            length = norm_of(lambda x, y: x * mean_weight / (jnp.sqrt(y) + options.graft_eps), m, v)
    return u * jnp.where(own > 0, length / jnp.where(own > 0, own, 1), 0)


def _row_sums(options: Options, a: Array, couplings: tuple[Array, ...]) -> Array:
    """The absolute row sums of the banded matrix; "research" counts one neighbour a row, the last one written."""
    import jax.numpy as jnp

    sums = a
    for k, b in enumerate(couplings, start=1):
        above, below = jnp.abs(b), jnp.abs(shift(b, -k, 0.0, options.order))
        if options.eps_scale == "relative":
            sums += above + below
            continue
        ones = jnp.ones(a.shape, bool)
        for neighbour, by in ((above, k), (below, -k)):
            sums = jnp.where(shift(ones, by, False, options.order), a + neighbour, sums)
    return sums


def _average(old: Array, new: Array, beta: float) -> Array:
    return (beta * old.astype(new.dtype) + (1 - beta) * new).astype(old.dtype)
