"""Products of rows with the kernel of their group; rows of one group stand together.

All three are derivatives of one form, so that the derivatives of each are the other two, of any order:

    T = sum_n x_n W_g(n) y_n ;  product = dT/dy ;  turned = dT/dx ;  over_groups = dT/dW

jax.lax's own ragged product has no second derivative. In reverse mode; no forward mode.
Shapes: x (N, D), y (N, F), W (G, D, F); sizes (G): rows of each group, their sum N.
"""

from __future__ import annotations

import jax
from jax.lax import RaggedDotDimensionNumbers, ragged_dot_general
from jaxtyping import Array, Float, Int

Kept = tuple[Array, Array, Array]
Slopes = tuple[Array, Array, None]


@jax.custom_vjp
def product(
    x: Float[Array, "rows fan_in"], kernels: Float[Array, "groups fan_in fan_out"], sizes: Int[Array, " groups"]
) -> Float[Array, "rows fan_out"]:
    """x_n W_g(n)."""
    return ragged_dot_general(x, kernels, sizes, _by_group(1))


@jax.custom_vjp
def turned(
    y: Float[Array, "rows fan_out"], kernels: Float[Array, "groups fan_in fan_out"], sizes: Int[Array, " groups"]
) -> Float[Array, "rows fan_in"]:
    """W_g(n) y_n."""
    return ragged_dot_general(y, kernels, sizes, _by_group(2))


@jax.custom_vjp
def over_groups(
    x: Float[Array, "rows fan_in"], y: Float[Array, "rows fan_out"], sizes: Int[Array, " groups"]
) -> Float[Array, "groups fan_in fan_out"]:
    """The sum over each group's rows of x_n y_n^T."""
    numbers = RaggedDotDimensionNumbers((([0], [0]), ([], [])), [0], [])  # type: ignore[no-untyped-call]
    return ragged_dot_general(x, y, sizes, numbers)


def _by_group(axis: int) -> RaggedDotDimensionNumbers:
    """Rows by kernels, summed over this axis of the kernels."""
    return RaggedDotDimensionNumbers((([1], [axis]), ([], [])), [0], [0])  # type: ignore[no-untyped-call]


def _product_back(kept: Kept, d: Array) -> Slopes:
    x, kernels, sizes = kept
    return turned(d, kernels, sizes).astype(x.dtype), over_groups(x, d, sizes).astype(kernels.dtype), None


def _turned_back(kept: Kept, d: Array) -> Slopes:
    y, kernels, sizes = kept
    return product(d, kernels, sizes).astype(y.dtype), over_groups(d, y, sizes).astype(kernels.dtype), None


def _over_groups_back(kept: Kept, d: Array) -> Slopes:
    x, y, sizes = kept
    return turned(y, d, sizes).astype(x.dtype), product(x, d, sizes).astype(y.dtype), None


product.defvjp(lambda *given: (product(*given), given), _product_back)
turned.defvjp(lambda *given: (turned(*given), given), _turned_back)
over_groups.defvjp(lambda *given: (over_groups(*given), given), _over_groups_back)
