"""The banded preconditioner of SONew: X m, where X^-1 agrees with H on a band and X is zero outside it.

For H with diagonal a and couplings b_k (entry j: H[j, j+k]), I = {j+1 .. j+band}:

    psi_j = H[I,I]^-1 H[I,j] ;  c_j = a_j - psi_j . H[I,j] ;  X = L diag(1/c) L^T , L[I,j] = -psi_j , L[j,j] = 1

Where c_j <= gamma a_j or is no number, edges go until the remaining graph is chordal in this order; the windows are
then solved again on it. Dropping j's upper edges alone would, from band 2 on, leave X with entries off the graph.

    minimal_cut   every edge (p, q) with p <= j < q: two bands remain
    isolate       every edge of j
    reweight      no edge: H[I,j] shrinks until c_j is the rounding unit times a_j (a reconstruction; the optimality
                  condition then holds only where nothing shrank)
    floor         no edge: c_j is raised to two rounding units of a_j (the authors' banded research code, whose gamma
                  this then is)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.optim._elimination import coefficient, solution, survivors, windows
from models_core.optim._norms import norm_of

if TYPE_CHECKING:
    from jax import Array

EdgeRule = Literal["minimal_cut", "isolate", "reweight", "floor"]
Order = Literal["fan_in", "row_major"]


def shift(x: Array, by: int, fill: float, order: Order = "fan_in") -> Array:
    """Entry j of the result is entry j + by of the chain, `fill` beyond its ends; shape kept.

    order: "fan_in" runs the chain through all axes but the last, then on to the next index of the last axis;
    "row_major" runs it as the entries lie in memory.
    """
    import jax.numpy as jnp

    columns = x.reshape(-1, x.shape[-1] if x.ndim > 1 and order == "fan_in" else 1)
    if abs(by) >= len(columns) and columns.shape[1] > 1:
        # The chain wraps more than once: rare and small, so by way of the chain itself.
        return from_chain(shift(to_chain(x, order), by, fill), x.shape, order)
    edge = jnp.full((min(abs(by), len(columns)), 1), fill, x.dtype)
    if by > 0:
        following = jnp.concatenate([columns[:by, 1:], edge], axis=1)
        moved = jnp.concatenate([columns[by:], following], axis=0)
    else:
        preceding = jnp.concatenate([edge, columns[by:, :-1]], axis=1)
        moved = jnp.concatenate([preceding, columns[:by]], axis=0)
    return moved.reshape(x.shape)


def floor_of(dtype: Any) -> float:
    """The least share of its variance that an entry keeps under the rule "floor"."""
    import numpy as np

    return 2 * float(np.finfo(dtype).eps)


def averaged_product(e: Array, g: Array, k: int, beta: float, order: Order) -> Array:
    """beta e + (1 - beta) g_j g_{j+k} along the chain, zero beyond its end; e as g, large tensors changed in place."""
    import jax

    columns = g.reshape(-1, g.shape[-1] if g.ndim > 1 and order == "fan_in" else 1)
    rows, width = columns.shape
    if rows <= 2 * k:
        return beta * e + (1 - beta) * g * shift(g, k, 0.0, order)
    kept = beta * e.reshape(columns.shape)

    def joined(to: Array, product: Array, row: int) -> Array:
        here = jax.lax.slice(to, (row, 0), (row + product.shape[0], product.shape[1]))
        return jax.lax.dynamic_update_slice(to, here + (1 - beta) * product, (row, 0))

    kept = joined(kept, columns[:-k] * columns[k:], 0)
    if width > 1:
        kept = joined(kept, columns[-k:, :-1] * columns[:k, 1:], rows - k)
    return kept.reshape(g.shape)


def to_chain(x: Array, order: Order) -> Array:
    """The entries of `x` as one vector, in the chain's order."""
    return x.reshape(-1, x.shape[-1]).T.reshape(-1) if x.ndim > 1 and order == "fan_in" else x.reshape(-1)


def from_chain(chain: Array, shape: tuple[int, ...], order: Order) -> Array:
    """The inverse of `to_chain`."""
    if len(shape) > 1 and order == "fan_in":
        return chain.reshape(shape[-1], -1).T.reshape(shape)
    return chain.reshape(shape)


def precondition(
    a: Array,
    couplings: tuple[Array, ...],
    m: Array,
    gamma: float,
    rule: EdgeRule = "minimal_cut",
    order: Order = "fan_in",
    ridge: Array | float = 0.0,
) -> tuple[Array, Array]:
    """X m and its norm; a > 0 and couplings as in the module's docstring, in the tensor's shape, each coupling zero at
    its end.

    ridge: joins the diagonal where it is used, which spares a copy of large tensors.
    """
    import jax.numpy as jnp

    if not couplings:
        u = m / (a + ridge)
        return u, norm_of(lambda x: x, u)
    if rule == "floor":
        gamma = floor_of(a.dtype)
    band = len(couplings)
    if m.ndim < 2 or order == "row_major" or m.size // m.shape[-1] < 3 * band:
        chains = [to_chain(x, order)[:, None] for x in (a, *couplings, m)]
    else:
        chains = [x.reshape(-1, x.shape[-1]) for x in (a, *couplings, m)]
    rows, columns = chains[0].shape
    fills: list[Any] = [1.0 - ridge, *[0.0] * (band + 1)]
    if rows < 3 * band:
        # Short: the whole chain between what lies beyond its ends.
        ends = [jnp.full((band, 1), fill, m.dtype) for fill in fills]
        wide = [jnp.concatenate([end, x, end, end]) for x, end in zip(chains, ends, strict=True)]
        u = _careful(wide, gamma, rule, ridge)
        return from_chain(u.reshape(-1), m.shape, order), norm_of(lambda x: x, u)
    # Row i + 1 follows row i, and the first row of the next column the last row of this one. All but the rows near
    # that seam see their neighbours where they lie; the seam is joined apart, so that no large tensor is copied.
    seam = [_seam(x, 3 * band, fill) for x, fill in zip(chains, fills, strict=True)]
    joined = _careful(seam, gamma, rule, ridge)
    first, last = joined[2 * band :, :-1], joined[: 2 * band, 1:]
    parts, squared = [first, last], jnp.sum(first * first) + jnp.sum(last * last)
    if rows > 3 * band:
        inner, norm = _inside(chains, gamma, rule, ridge)
        parts.insert(1, inner)
        squared += norm * norm
    u = jnp.concatenate(parts)
    u = u.reshape(m.shape) if columns > 1 else from_chain(u.reshape(-1), m.shape, order)
    return u, jnp.sqrt(squared)


def _seam(x: Array, rows: int, fill: float) -> Array:
    """Last rows of each column above the first rows of the next, (2 rows, columns + 1); `fill` beyond both ends."""
    import jax.numpy as jnp

    beyond = jnp.full((rows, 1), fill, x.dtype)
    above = jnp.concatenate([beyond, x[-rows:]], axis=1)
    below = jnp.concatenate([x[:rows], beyond], axis=1)
    return jnp.concatenate([above, below])


def _inside(tall: list[Array], gamma: float, rule: EdgeRule, ridge: Array | float) -> tuple[Array, Array]:
    """X m and its norm for the rows that have `band` rows before and 2 `band` rows after them; `tall` is a, couplings
    and m, (rows, columns) each.

    As if no edge had to go, and only where that fails again with the edges that have to.
    """
    import jax
    import jax.numpy as jnp

    def with_norm(u: Array) -> tuple[Array, Array]:
        return u, norm_of(lambda x: x, u)

    if len(tall) == 3 and rule == "minimal_cut":
        # An entry's only edge goes without a change for others.
        return with_norm(_careful(tall, gamma, rule, ridge))
    a, *edges, m = (x.reshape(-1) for x in tall)
    stride = tall[0].shape[1]
    every = _conditioned(a, edges, m, gamma, ridge, stride)
    y = every[: -len(edges) * stride]
    u, norm = with_norm(_spread(a, edges, y, y, ridge, stride).reshape(-1, stride))
    found: tuple[Array, Array] = jax.lax.cond(
        jnp.isfinite(norm), lambda: (u, norm), lambda: with_norm(_careful(tall, gamma, rule, ridge, every))
    )
    return found


def _careful(
    tall: list[Array], gamma: float, rule: EdgeRule, ridge: Array | float, uncut: Array | None = None
) -> Array:
    """X m as in `_inside`, on the graph that `rule` leaves; uncut: what `_conditioned` found on the whole graph."""
    import jax.numpy as jnp

    band, stride = len(tall) - 2, tall[0].shape[1]
    a, *edges, m = (x.reshape(-1) for x in tall)
    if rule == "reweight":
        y, passed = _reweighted(a, edges, m, gamma, ridge, stride)
    else:
        if band > 1 and rule != "floor":
            uncut = _conditioned(a, edges, m, gamma, ridge, stride) if uncut is None else uncut
            edges = _after_cuts(edges, ~jnp.isnan(uncut), rule, stride)
        y = _conditioned(a, edges, m, gamma, ridge, stride, floor=rule == "floor")
        y = y[: len(a) - 2 * band * stride]
        # What is unsound after the cut is so by rounding alone: it stands on its own.
        alone = jnp.isnan(y)
        passed = jnp.where(alone, 0, y)
        y = jnp.where(alone, m[: len(y)] / (a[: len(y)] + ridge), y)
    return _spread(a, edges, y, passed, ridge, stride).reshape(-1, stride)


def _conditioned(
    a: Array, edges: list[Array], m: Array, gamma: float, ridge: Array | float, stride: int, *, floor: bool = False
) -> Array:
    """y = diag(1/c) L^T m of all but the last band rows; NaN where c <= gamma a, which `floor` raises to that."""
    import jax.numpy as jnp

    band = len(edges)
    length = min(len(a), len(edges[0])) - band * stride
    window = windows(a, edges, 0, length, stride, ridge)
    c, left = solution(window, [m[i * stride : i * stride + length] for i in range(band + 1)], _positive)
    least = gamma * window[0, 0]
    # maximum() hands on what is no number.
    y: Array = _stored(left / (jnp.maximum(c, least) if floor else jnp.where(c > least, c, jnp.nan)))
    return y


def _spread(a: Array, edges: list[Array], y: Array, passed: Array, ridge: Array | float, stride: int) -> Array:
    """L y without its first band rows, for the y that is passed on to other entries."""
    band = len(edges)
    u = y[band * stride :]
    for k in range(1, band + 1):
        place = (band - k) * stride
        psi = coefficient(windows(a, edges, place, len(u), stride, ridge), k, _coupling)
        u = u - psi * passed[place : place + len(u)]
    return u


def _after_cuts(edges: list[Array], good: Array, rule: EdgeRule, stride: int) -> list[Array]:
    """The edges that "minimal_cut" or "isolate" leaves, for all but the last band rows."""
    import jax.numpy as jnp

    whole = jnp.concatenate([good, jnp.ones(len(edges) * stride, bool)])
    kept = survivors(whole, rule, len(edges), len(good), stride)
    return [jnp.where(k, edge[: len(good)], 0) for k, edge in zip(kept, edges, strict=True)]


def _reweighted(
    a: Array, edges: list[Array], m: Array, gamma: float, ridge: Array | float, stride: int
) -> tuple[Array, Array]:
    """y as in `_conditioned` with the couplings of unsound entries shrunk, and the shrunk share of it."""
    import jax.numpy as jnp
    import numpy as np

    band = len(edges)
    length = len(a) - 2 * band * stride
    window = windows(a, edges, 0, length, stride, ridge)
    diagonal, right = window[0, 0], [m[i * stride : i * stride + length] for i in range(band + 1)]
    c, left = _stored(solution(window, right, _positive))
    good, explained = c > gamma * diagonal, diagonal - c
    unit = float(np.finfo(c.dtype).eps)
    # c is only trusted to shrink where it is a number and the couplings explain too much, not too little.
    shrunk = ~good & (explained > 0)
    factor = jnp.sqrt((1 - unit) * diagonal / jnp.where(shrunk, explained, 1))
    scaled = (right[0] - factor * (right[0] - left)) / (unit * diagonal)
    y = jnp.where(good, left / c, jnp.where(shrunk, scaled, right[0] / diagonal))
    passed = jnp.where(good, y, jnp.where(shrunk, factor * y, 0))
    found: tuple[Array, Array] = _stored((y, passed))
    return found


def _stored(values: Any) -> Any:
    """`values`, which the compiler now computes once and keeps."""
    import jax

    return jax.lax.optimization_barrier(values)  # type: ignore[no-untyped-call]


def _positive(d: Array) -> Array:
    """d where positive, else NaN, which then is everything that needs it."""
    import jax.numpy as jnp

    checked: Array = jnp.where(d > 0, d, jnp.nan)
    return checked


def _coupling(d: Array) -> Array:
    """d where positive, else infinity: what rounding made unsound in one order of elimination couples nothing."""
    import jax.numpy as jnp

    checked: Array = jnp.where(d > 0, d, jnp.inf)
    return checked
