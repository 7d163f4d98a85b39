"""Frequent directions with exponential weights and escaped mass: a rank-k sketch of a discounted sum of A A^T.

Source: Feinberg, Chen, Sun, Anil and Hazan, "Sketchy: memory-efficient adaptive regularization with frequent
directions", NeurIPS 2023 (arXiv 2302.03764); the sketch itself: Ghashami, Liberty, Phillips and Woodruff, 2016.

    [u, sig] = svd([ sqrt(beta2) basis diag(roots) , A ]) ;  cut = sig_{k+1}, 0 if there is none
    roots_i^2 = (sig_i - cut)(sig_i + cut) ;  basis = u_1 .. u_k ;  escaped = beta2 escaped + cut^2

With C the discounted sum: 0 <= C - basis diag(roots^2) basis^T <= escaped I.
Deviates: singular values below rounding count as zero, so that nothing escapes from a matrix of rank k; a factor that
is not finite is skipped. Reduces to: C exactly, where k is its size.
Cost: time O(d (k + m)^2), memory d k + k + 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from jax import Array

TailDecay = Literal["beta2", "sqrt_beta2"]


class Sketch(NamedTuple):
    """basis (d, k) with orthonormal columns, roots (k) of its eigenvalues, escaped mass (a scalar)."""

    basis: Array
    roots: Array
    escaped: Array


def empty(size: int, rank: int, dtype: Any) -> Sketch:
    """The sketch of nothing; no larger than the matrix itself."""
    import jax.numpy as jnp

    k = min(size, rank)
    return Sketch(jnp.eye(size, k, dtype=dtype), jnp.zeros(k, dtype), jnp.zeros((), dtype))


def absorb(
    sketch: Sketch, factor: Array, beta2: float, tail_decay: TailDecay = "beta2", *, escape: float = 1.0
) -> Sketch:
    """The sketch after `factor` (d, m). escape: share of cut^2 that counts as escaped, 1 but for RFD."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    k = sketch.roots.size
    if factor.size == 0 or k == 0:
        return sketch
    stack = jnp.concatenate([sketch.basis * (beta2**0.5 * sketch.roots)[None, :], factor], axis=1)
    finite = jnp.all(jnp.isfinite(stack))
    # A stack that is not finite would keep the decomposition from ending.
    u, sig, _ = jnp.linalg.svd(jnp.where(finite, stack, 0), full_matrices=False)
    noise = float(np.finfo(sig.dtype).eps) * max(stack.shape) * sig[0]
    sig = jnp.where(sig > noise, sig, 0)
    cut = sig[k] if sig.size > k else jnp.zeros((), sig.dtype)
    kept = sig[:k]
    decay = beta2 if tail_decay == "beta2" else beta2**0.5
    following = Sketch(
        u[:, :k],
        jnp.sqrt((kept - cut) * (kept + cut)),
        decay * sketch.escaped + escape * cut * cut,
    )
    checked: Sketch = jax.tree.map(lambda new, old: jnp.where(finite, new, old), following, sketch)
    return checked


def power_times(sketch: Sketch, right: Array, exponent: float, ridge: Array | float = 0.0) -> Array:
    """(basis diag(roots^2) basis^T + (escaped + ridge) I)^exponent right, for right (d, m); powers of 0 are 0."""
    import jax.numpy as jnp

    def power(x: Array) -> Array:
        return jnp.where(x > 0, jnp.where(x > 0, x, 1) ** exponent, 0)

    tail = power(sketch.escaped + ridge)
    heads = power(sketch.roots**2 + sketch.escaped + ridge)
    inside = sketch.basis.T @ right
    return sketch.basis @ (heads[:, None] * inside) + tail * (right - sketch.basis @ inside)


def roots_inverse_times(sketch: Sketch, right: Array, delta: float) -> Array:
    """(basis diag(roots + delta) basis^T + delta (I - basis basis^T))^-1 right, for right (d, m) and delta > 0."""
    inside = sketch.basis.T @ right
    return (right - sketch.basis @ ((sketch.roots / (sketch.roots + delta))[:, None] * inside)) / delta
