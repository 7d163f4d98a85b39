"""Online methods on a frequent-directions sketch of their gradients, per tensor; what differs between them is given.

Source of the comparison and its conventions: Feinberg et al., arXiv 2302.03764. An optimizer whose learning rate is
`inner` has it inside its sketch and none in front of its step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from models_core.optim._frequent_directions import Sketch, absorb, empty
from models_core.optim._stages import Rate

if TYPE_CHECKING:
    import optax
    from jax import Array


class SketchedState(NamedTuple):
    """step: updates made. sketches: one for each tensor."""

    step: Array
    sketches: Any


def sketched(
    rate: Rate,
    rank: int,
    *,
    weight: Callable[[Array, Array], Array],
    escape: float,
    apply: Callable[[Sketch, Array], Array],
    inner: bool,
) -> optax.GradientTransformation:
    """w -= r apply(sketch, g) with r the learning rate, or 1 if it is `inner`.

    weight(t, r): the factor on g in the sketch at update t = 1, 2, ... escape: share of the cut that counts as escaped.
    apply(sketch, g): on a column (n, 1). A learning rate of 0 moves nothing.
    """
    import jax
    import jax.numpy as jnp
    import optax

    def exact(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32

    def init(params: Any) -> SketchedState:
        sketches = jax.tree.map(lambda leaf: empty(leaf.size, rank, exact(leaf)), params)
        return SketchedState(jnp.zeros((), jnp.int32), sketches)

    def update(grads: Any, state: SketchedState, params: Any = None) -> tuple[Any, SketchedState]:
        step = optax.safe_increment(state.step)
        given = rate(state.step) if callable(rate) else rate

        def scales(column: Array) -> tuple[Array, Array]:
            r = jnp.asarray(given, column.dtype)
            return r, weight(step.astype(column.dtype), r)

        def absorbed(column: Array, sketch: Sketch) -> Sketch:
            return absorb(sketch, scales(column)[1] * column, 1.0, escape=escape)

        def direction(g: Array, column: Array, sketch: Sketch) -> Array:
            r, _ = scales(column)
            moved = apply(sketch, column) * jnp.where(r > 0, 1 if inner else r, 0)
            return -moved.reshape(g.shape).astype(g.dtype)

        columns = jax.tree.map(lambda g: g.astype(exact(g)).reshape(-1, 1), grads)
        sketches = jax.tree.map(absorbed, columns, state.sketches)
        return jax.tree.map(direction, grads, columns, sketches), SketchedState(step, sketches)

    return optax.GradientTransformation(init, update)
