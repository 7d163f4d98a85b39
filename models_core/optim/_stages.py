"""The last stages that optimizers share: decoupled weight decay, then the learning rate, in float32 at least."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optax
    from jax import Array

Rate = float | Callable[[Any], Any]


def descend(*directions: optax.GradientTransformation, weight_decay: float, rate: Rate) -> optax.GradientTransformation:
    """w -= rate (u + weight_decay w), with u what `directions` make of the gradient one after the other.

    Computed and kept in float32 where parameters have less; the update has the gradients' dtype.
    """
    import optax

    stages = list(directions)
    if weight_decay > 0:
        stages.append(optax.add_decayed_weights(weight_decay))
    return exact(optax.chain(*stages, optax.scale_by_learning_rate(rate)))


def flattened(tree: Any) -> tuple[list[Array], Any]:
    """The leaves and the structure, which flattens other trees up to its own leaves and puts new ones together."""
    import jax

    leaves, structure = jax.tree.flatten(tree)
    return leaves, structure


def exact(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same on float32 copies of gradients and parameters that have less, and so with float32 statistics."""
    import jax
    import jax.numpy as jnp
    import optax

    def raised(tree: Any) -> Any:
        def raise_(leaf: Array) -> Array:
            short = jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.dtype(leaf.dtype).itemsize < 4
            return leaf.astype(jnp.float32) if short else leaf

        return jax.tree.map(raise_, tree)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, following = transformation.update(raised(grads), state, None if params is None else raised(params))
        return jax.tree.map(lambda u, g: u.astype(g.dtype), updates, grads), following

    return optax.GradientTransformation(lambda params: transformation.init(raised(params)), update)


def relaxed(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same under standard promotion: optax raises floats to integer counts, which strict promotion refuses."""
    import jax
    import optax

    def init(params: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return transformation.init(params)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, following = transformation.update(grads, state, params)
        return updates, following

    return optax.GradientTransformation(init, update)
