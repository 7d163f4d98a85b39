"""Adam, with decoupled weight decay (AdamW).

Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1; Loshchilov and Hutter,
"Decoupled weight decay regularization", ICLR 2019. The arithmetic is optax's.

    m = beta1 m + (1-beta1) g ;  v = beta2 v + (1-beta2) g^2
    w -= lr ( m/(1-beta1^t) / (sqrt(v/(1-beta2^t)) + eps) + weight_decay w )

Reduces to: sign descent at beta1 = beta2 = 0 and eps = 0.
Cost: two numbers a parameter.

>>> Options(lr=0.01).beta2
0.999
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from models_core.optim._options import OptimizerOptions
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="Adam"):
    """Adam with decoupled weight decay."""

    kind: Literal["adam"] = field(
        "adam", title="Optimizer", help="Adam with decoupled weight decay.", section="Optimizer"
    )
    lr: float = field(
        0.003, title="Learning rate", help="Step size after warm-up.", gt=0, le=10, format="log", section="Optimizer"
    )
    beta1: float = field(
        0.9, title="Beta 1", help="Decay of the mean gradient.", ge=0, lt=1, section="Optimizer", advanced=True
    )
    beta2: float = field(
        0.999,
        title="Beta 2",
        help="Decay of the mean squared gradient.",
        ge=0,
        lt=1,
        section="Optimizer",
        advanced=True,
    )
    eps: float = field(
        1e-8,
        title="Epsilon",
        help="Added to the root of the mean square.",
        gt=0,
        le=1,
        format="log",
        section="Optimizer",
        advanced=True,
    )
    weight_decay: float = field(
        0.0,
        title="Weight decay",
        help="Decoupled, times the learning rate.",
        ge=0,
        le=10,
        section="Optimizer",
        advanced=True,
    )


def build(options: Options, learning_rate: float | Callable[[Any], Any]) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import jax
    import optax

    adam = optax.scale_by_adam(b1=options.beta1, b2=options.beta2, eps=options.eps)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        # optax raises a float to an int32 count, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, following = adam.update(grads, state, params)
        return updates, following

    stages = [optax.GradientTransformation(adam.init, update)]
    if options.weight_decay > 0:
        stages.append(optax.add_decayed_weights(options.weight_decay))
    return optax.chain(*stages, optax.scale_by_learning_rate(learning_rate))
