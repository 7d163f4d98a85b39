"""The product that every layer makes: rows times a kernel (in, out).

    y = x W ;  dx = dy W^T ;  dW = x^T dy

Leading axes are joined first. XLA's CPU backend lowers the products of a three-dimensional backward pass to slower ones
with copies; as plain matrices a feed-forward network's gradient takes two thirds of the time. A kernel's gradient is
computed wide: for a tall kernel as (dy^T x)^T, because the same backend needs a third less time for it. On accelerators
both are free. First and higher derivatives in reverse mode; no forward mode.
"""

from __future__ import annotations

import jax
from jaxtyping import Array, Float


def linear(
    x: Float[Array, "*leading fan_in"], kernel: Float[Array, "fan_in fan_out"]
) -> Float[Array, "*leading fan_out"]:
    """x kernel."""
    rows = product(x.reshape(-1, x.shape[-1]), kernel)
    out: Float[Array, "*leading fan_out"] = rows.reshape(*x.shape[:-1], kernel.shape[1])
    return out


@jax.custom_vjp
def product(rows: Float[Array, "rows fan_in"], kernel: Float[Array, "fan_in fan_out"]) -> Float[Array, "rows fan_out"]:
    """rows kernel, two matrices."""
    return rows @ kernel


def _forward(rows: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return rows @ kernel, (rows, kernel)


def _backward(kept: tuple[Array, Array], d_out: Array) -> tuple[Array, Array]:
    rows, kernel = kept
    d_rows = jax.lax.dot_general(d_out, kernel, (((1,), (1,)), ((), ())))
    return d_rows.astype(rows.dtype), over_rows(rows, d_out).astype(kernel.dtype)


product.defvjp(_forward, _backward)


def over_rows(x: Float[Array, "rows m"], y: Float[Array, "rows n"]) -> Float[Array, "m n"]:
    """x^T y."""
    if x.shape[1] <= y.shape[1]:
        return _over_rows(x, y)
    # Without the barrier XLA turns the transposed product back into the slow one.
    wide: Array = jax.lax.optimization_barrier(_over_rows(y, x))  # type: ignore[no-untyped-call]
    return wide.T


def _over_rows(x: Array, y: Array) -> Array:
    return jax.lax.dot_general(x, y, (((0,), (0,)), ((), ())))
