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

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from models_core.optim._elimination import predictors, survivors

if TYPE_CHECKING:
    from jax import Array

T = TypeVar("T")
# Entries solved at once: their couplings and coefficients stay near the core.
_PIECE = 1 << 16
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
) -> Array:
    """X m; a > 0 and couplings as in the module's docstring, in the tensor's shape, each coupling zero at its end.

    ridge: joins the diagonal where it is used, which spares a copy of large tensors.
    """
    import jax.numpy as jnp

    if not couplings:
        return m / (a + ridge)
    if rule == "floor":
        gamma = floor_of(a.dtype)
    if len(couplings) == 1 and rule == "minimal_cut":
        return _tridiagonal(a + ridge, couplings[0], m, gamma, order)
    band = len(couplings)
    if m.ndim < 2 or order == "row_major" or m.size // m.shape[-1] < 3 * band:
        chains = [to_chain(x, order)[:, None] for x in (a, *couplings, m)]
    else:
        chains = [x.reshape(-1, x.shape[-1]) for x in (a, *couplings, m)]
    rows = len(chains[0])
    fills: list[Any] = [1.0 - ridge, *[0.0] * (band + 1)]
    if rows < 3 * band:
        # Short: the whole chain between what lies beyond its ends.
        ends = [jnp.full((band, 1), fill, m.dtype) for fill in fills]
        wide = [jnp.concatenate([end, x, end, end]) for x, end in zip(chains, ends, strict=True)]
        u = _inside(wide, gamma, rule, ridge, large=False)
        return from_chain(u.reshape(-1), m.shape, order)
    # Row i + 1 follows row i, and the first row of the next column the last row of this one. All but the rows near
    # that seam see their neighbours where they lie; the seam is joined apart, so that no large tensor is copied.
    seam = [_seam(x, 3 * band, fill) for x, fill in zip(chains, fills, strict=True)]
    joined = _inside(seam, gamma, rule, ridge, large=False)
    parts = [joined[2 * band :, :-1], joined[: 2 * band, 1:]]
    if rows > 3 * band:
        parts.insert(1, _inside(chains, gamma, rule, ridge))
    u = jnp.concatenate(parts)
    return u.reshape(m.shape) if chains[0].shape[1] > 1 else from_chain(u.reshape(-1), m.shape, order)


def _tridiagonal(a: Array, b: Array, m: Array, gamma: float, order: Order) -> Array:
    """The closed form for one coupling: everything elementwise, in the tensor's own layout."""
    import jax.numpy as jnp

    # Rows condition on their upper neighbour; the last entry has none, its b is zero by construction.
    psi = b / shift(a, 1, 1.0, order)
    c = a - psi * b
    # Written so that a c that is not a number cuts its edge too.
    kept = c > gamma * a
    psi = jnp.where(kept, psi, 0)
    y = (m - psi * shift(m, 1, 0.0, order)) / jnp.where(kept, c, a)
    return y - shift(psi * y, -1, 0.0, order)


def _seam(x: Array, rows: int, fill: float) -> Array:
    """Last rows of each column above the first rows of the next, (2 rows, columns + 1); `fill` beyond both ends."""
    import jax.numpy as jnp

    beyond = jnp.full((rows, 1), fill, x.dtype)
    above = jnp.concatenate([beyond, x[-rows:]], axis=1)
    below = jnp.concatenate([x[:rows], beyond], axis=1)
    return jnp.concatenate([above, below])


def _inside(tall: list[Array], gamma: float, rule: EdgeRule, ridge: Array | float, *, large: bool = True) -> Array:
    """X m for the rows that have `band` rows before and 2 `band` rows after them; `tall` is a, couplings, m."""
    import jax
    import jax.numpy as jnp

    band = len(tall) - 2
    rows, columns = tall[0].shape
    inner = rows - 3 * band
    if not large:
        # Two ways through little data would mostly cost compilation.
        return _careful([tall[0] + ridge, *tall[1:]], gamma, rule)
    # Rows at once: few enough to stay in the cache, many against the 3 band that neighbours share.
    piece = max(_PIECE // columns, 8 * band)
    if inner <= piece:
        return _quick_or_careful([tall[0] + ridge, *tall[1:]], gamma, rule)

    def body(i: Array, u: Array) -> Array:
        # The last piece overlaps the one before it.
        start = jnp.minimum(i * piece, inner - piece)
        part = [jax.lax.dynamic_slice_in_dim(x, start, piece + 3 * band) for x in tall]
        solved = _quick_or_careful([part[0] + ridge, *part[1:]], gamma, rule)
        return jax.lax.dynamic_update_slice_in_dim(u, solved, start, 0)

    result: Array = jax.lax.fori_loop(0, -(-inner // piece), body, jnp.zeros((inner, columns), tall[0].dtype))
    return result


def _quick_or_careful(tall: list[Array], gamma: float, rule: EdgeRule) -> Array:
    """As if no edge had to go, and only where that fails again with the edges that have to."""
    import jax
    import jax.numpy as jnp

    band = len(tall) - 2
    rows, columns = tall[0].shape
    flat = [x.reshape(-1) for x in tall]
    length = (rows - 2 * band) * columns
    psi, c = predictors(flat[0], flat[1:-1], length, columns, sound=_positive, less=_less, stored=_stored)
    quick = _applied(psi, jnp.where(c > gamma * flat[0][:length], c, jnp.nan), flat[-1], columns)
    quick = quick.reshape(rows - 3 * band, columns)
    u: Array = jax.lax.cond(jnp.isfinite(jnp.sum(quick)), lambda: quick, lambda: _careful(tall, gamma, rule))
    return u


def _careful(tall: list[Array], gamma: float, rule: EdgeRule) -> Array:
    band = len(tall) - 2
    rows, columns = tall[0].shape
    flat = [x.reshape(-1) for x in tall]
    psi, c = _after_cuts(flat[0], flat[1:-1], gamma, rule, (rows - 2 * band) * columns, columns)
    return _applied(psi, c, flat[-1], columns).reshape(rows - 3 * band, columns)


def _stored(values: T) -> T:
    """`values`, which the compiler now computes once and keeps."""
    import jax

    kept: T = jax.lax.optimization_barrier(values)  # type: ignore[no-untyped-call]
    return kept


def _positive(d: Array) -> Array:
    import jax.numpy as jnp

    checked: Array = jnp.where(d > 0, d, jnp.nan)
    return checked


def _less(x: Array, y: Array, z: Array) -> Array:
    return x - y * z


def _applied(psi: dict[int, Array], c: Array, m: Array, stride: int) -> Array:
    """L diag(1/c) L^T m without its first band * stride entries."""

    band, length = len(psi), len(c)
    y = m[:length]
    for k, p in psi.items():
        y = y - p * m[k * stride : k * stride + length]
    y, psi = _stored((y / c, psi))
    u = y[band * stride :]
    for k, p in psi.items():
        start = (band - k) * stride
        u = u - p[start : start + len(u)] * y[start : start + len(u)]
    return u


def _after_cuts(
    a: Array, edges: list[Array], gamma: float, rule: EdgeRule, length: int, stride: int
) -> tuple[dict[int, Array], Array]:
    """psi and c on the graph that `rule` leaves."""
    import jax.numpy as jnp
    import numpy as np

    band = len(edges)
    # Edges of entry j go by what is found at j .. j + band.
    taller = length if rule in ("reweight", "floor") else length + band * stride
    psi, c = predictors(a, edges, taller, stride, sound=_positive, less=_less, stored=_stored)
    good = _stored(c > gamma * a[:taller])
    if rule == "floor":
        # What is no number has no coefficients to keep.
        known = _stored(jnp.isfinite(c))
        floored = jnp.maximum(c, gamma * a[:length])
        return {k: jnp.where(known, p, 0) for k, p in psi.items()}, jnp.where(known, floored, a[:length])
    if rule == "reweight":
        explained, diagonal = a[:length] - c, a[:length]
        unit = float(np.finfo(c.dtype).eps)
        # c is only trusted to shrink where it is a number and the couplings explain too much, not too little.
        shrunk = ~good & (explained > 0)
        factor = jnp.sqrt((1 - unit) * diagonal / jnp.where(shrunk, explained, 1))
        psi = {k: jnp.where(good, p, jnp.where(shrunk, factor * p, 0)) for k, p in psi.items()}
        return psi, jnp.where(good, c, jnp.where(shrunk, unit * diagonal, diagonal))
    reach = len(a) - band * stride
    whole = _stored(jnp.concatenate([good, jnp.ones(band * stride, bool)]))
    kept = survivors(whole, rule, band, reach, stride)
    remaining = [jnp.where(k, edge[:reach], 0) for k, edge in zip(kept, edges, strict=True)]
    remaining = _stored(remaining)
    psi, c = predictors(a[:reach], remaining, length, stride, sound=_positive, less=_less, stored=_stored)
    # What is unsound after the cut is so by rounding alone: it stands on its own.
    sound = c > gamma * a[:length]
    return {k: jnp.where(sound, p, 0) for k, p in psi.items()}, jnp.where(sound, c, a[:length])
