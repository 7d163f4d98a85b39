"""The banded preconditioner of SONew: X m, where X^-1 agrees with H on a band and X is zero outside it.

For H with diagonal a and couplings b_k (entry j: H[j, j+k]), I = {j+1 .. j+band}:

    psi_j = H[I,I]^-1 H[I,j] ;  c_j = a_j - psi_j . H[I,j] ;  X = L diag(1/c) L^T , L[I,j] = -psi_j , L[j,j] = 1

Where c_j <= gamma a_j or is no number, edges go until the remaining graph is chordal in this order; the windows are
then solved again on it. Dropping j's upper edges alone would, from band 2 on, leave X with entries off the graph.

    minimal_cut   every edge (p, q) with p <= j < q: two bands remain
    isolate       every edge of j
    reweight      no edge: H[I,j] shrinks until c_j is the rounding unit times a_j (a reconstruction; the optimality
                  condition then holds only where nothing shrank)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jax import Array

EdgeRule = Literal["minimal_cut", "isolate", "reweight"]
Order = Literal["fan_in", "row_major"]

# Entries whose windows are solved at once: bounds temporary memory to a few times band times this.
CHUNK = 1 << 18


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
) -> Array:
    """X m; a > 0 and couplings as in the module's docstring, in the tensor's shape, each coupling zero at its end."""
    if not couplings:
        return m / a
    if len(couplings) == 1 and rule == "minimal_cut":
        return _tridiagonal(a, couplings[0], m, gamma, order)
    chains = [to_chain(x, order) for x in (a, *couplings, m)]
    return from_chain(_banded(chains[0], tuple(chains[1:-1]), chains[-1], gamma, rule), a.shape, order)


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


def _banded(a: Array, couplings: tuple[Array, ...], m: Array, gamma: float, rule: EdgeRule) -> Array:
    """Any band, on chains (one axis), chunk after chunk."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    n, band = a.size, len(couplings)
    chunk = min(CHUNK, n)
    count = -(-n // chunk)
    beyond = count * chunk - n + band

    def padded(x: Array, fill: float | bool) -> Array:
        return jnp.concatenate([x, jnp.full(beyond, fill, x.dtype)])

    # Beyond the end the matrix is the identity: psi is 0 there and no 0/0 arises, whatever eps.
    tall = padded(a, 1), tuple(padded(b, 0) for b in couplings), padded(m, 0)

    def cut(x: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(x, start, chunk + band)

    def solved(start: Array, good: Array | None) -> tuple[list[Array], Array, Array]:
        window = cut(tall[0], start)
        edges = [cut(b, start) for b in tall[1]]
        if good is not None:
            edges = _without_bad(edges, cut(good, start), rule)
        psi, c, sound = _windows(window, edges, chunk)
        return psi, c, sound & (c > gamma * window[:chunk])

    starts = jnp.arange(count) * chunk
    good = None
    if rule != "reweight":
        good = padded(jax.lax.map(lambda start: solved(start, None)[2], starts).reshape(-1)[:n], True)

    def halves(start: Array) -> tuple[Array, list[Array]]:
        psi, c, sound = solved(start, good)
        diagonal, momentum = cut(tall[0], start)[:chunk], cut(tall[2], start)
        if rule == "reweight":
            explained = diagonal - c
            unit = float(np.finfo(c.dtype).eps)
            # c is only trusted to shrink where it is a number and the couplings explain too much, not too little.
            shrunk = ~sound & (explained > 0)
            factor = jnp.sqrt((1 - unit) * diagonal / jnp.where(shrunk, explained, 1))
            psi = [jnp.where(sound, p, jnp.where(shrunk, factor * p, 0)) for p in psi]
            c = jnp.where(sound, c, jnp.where(shrunk, unit * diagonal, diagonal))
        else:
            # What is unsound after the cut is so by rounding alone: it stands on its own.
            psi = [jnp.where(sound, p, 0) for p in psi]
            c = jnp.where(sound, c, diagonal)
        ahead = sum((p * momentum[k : chunk + k] for k, p in enumerate(psi, start=1)), jnp.zeros_like(c))
        y = (momentum[:chunk] - ahead) / c
        return y, [p * y for p in psi]

    y, z = jax.lax.map(halves, starts)
    u: Array = y.reshape(-1)[:n]
    for k, part in enumerate(z, start=1):
        u -= shift(part.reshape(-1)[:n], -k, 0.0)
    return u


def _without_bad(edges: list[Array], good: Array, rule: EdgeRule) -> list[Array]:
    """Couplings with those of the edges set to zero that `rule` removes around entries that are not good."""
    import jax.numpy as jnp

    kept, remaining = good, []
    for k, edge in enumerate(edges, start=1):
        if rule == "isolate":
            kept = good & shift(good, k, True)
        elif k > 1:
            # Edge (j, j + k) survives when none of j .. j + k - 1 is bad.
            kept = kept & shift(good, k - 1, True)
        remaining.append(jnp.where(kept, edge, 0))
    return remaining


def _windows(a: Array, edges: list[Array], count: int) -> tuple[list[Array], Array, Array]:
    """psi (one tensor a band), c, and whether every variance divided by was positive, for the first `count` entries.

    Neighbouring windows overlap, so none is factored: the predictor of entry j from its k upper neighbours follows
    from that from k - 1 of them and the predictor of entry j + k from the entries between (Levinson's recursion for a
    matrix that is not Toeplitz), O(band^2) an entry. It works on correlations, the windows scaled to a unit diagonal.
    """
    import jax.numpy as jnp

    scale = jnp.where(a > 0, 1 / jnp.sqrt(jnp.where(a > 0, a, 1)), 1)
    correlated = [edge[: a.size - k] * scale[: a.size - k] * scale[k:] for k, edge in enumerate(edges, start=1)]
    ones = jnp.ones(a.size, a.dtype)
    # Of order k: up[j] predicts j from j+1 .. j+k, down[j] predicts j+k from j .. j+k-1; variances of what remains.
    up: list[Array] = []
    down: list[Array] = []
    up_variance = down_variance = ones
    sound = jnp.ones(a.size, bool)
    for k in range(1, len(edges) + 1):
        size = a.size - k
        up, down = [x[:size] for x in up], [x[1 : size + 1] for x in down]
        up_variance, down_variance = up_variance[:size], down_variance[1 : size + 1]
        common = correlated[k - 1]
        for p, coefficient in enumerate(up, start=1):
            common = common - coefficient * correlated[k - p - 1][p : p + size]
        sound = sound[:size] & (down_variance > 0)
        onto_far = common / jnp.where(down_variance > 0, down_variance, 1)
        onto_near = common / jnp.where(up_variance > 0, up_variance, 1)
        up, down = (
            [*(f - onto_far * b for f, b in zip(up, down, strict=True)), onto_far],
            [onto_near, *(b - onto_near * f for f, b in zip(up, down, strict=True))],
        )
        up_variance, down_variance = up_variance - onto_far * common, down_variance - onto_near * common
    psi = [value[:count] * scale[k : k + count] / scale[:count] for k, value in enumerate(up, start=1)]
    return psi, up_variance[:count] * a[:count], sound[:count]
