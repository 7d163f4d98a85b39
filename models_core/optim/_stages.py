"""The last stages that optimizers share: decoupled weight decay, then the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optax

Rate = float | Callable[[Any], Any]


def descend(*directions: optax.GradientTransformation, weight_decay: float, rate: Rate) -> optax.GradientTransformation:
    """w -= rate (u + weight_decay w), with u what `directions` make of the gradient one after the other."""
    import optax

    stages = list(directions)
    if weight_decay > 0:
        stages.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*stages, optax.scale_by_learning_rate(rate))


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
