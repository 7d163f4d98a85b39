"""RMSProp.

Source: Tieleman and Hinton, "Lecture 6.5: RMSProp", Coursera, 2012. The arithmetic is optax's.

    v = decay v + (1-decay) g^2 ;  w -= lr ( g / (sqrt(v) + eps) + weight_decay w )

Deviates: no bias correction, so that first steps are longer by 1/sqrt(1-decay).
Reduces to: sign descent at decay = 0 and eps = 0.
Cost: one number a parameter.

>>> Options().decay
0.9
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from models_core.optim._options import OptimizerOptions
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="RMSProp"):
    """Gradients over the root of their mean square."""

    kind: Literal["rmsprop"] = field(
        "rmsprop", title="Optimizer", help="Gradients over the root of their mean square.", section="Optimizer"
    )
    lr: float = field(
        0.001, title="Learning rate", help="Step size after warm-up.", gt=0, le=100, format="log", section="Optimizer"
    )
    decay: float = field(
        0.9,
        title="Decay",
        help="Decay of the mean squared gradient.",
        ge=0,
        lt=1,
        section="Optimizer",
        advanced=True,
    )
    eps: float = field(
        1e-08,
        title="Epsilon",
        help="Added to the root.",
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
    import optax

    stages = [optax.scale_by_rms(decay=options.decay, eps=options.eps, eps_in_sqrt=False)]
    if options.weight_decay > 0:
        stages.append(optax.add_decayed_weights(options.weight_decay))
    return optax.chain(*stages, optax.scale_by_learning_rate(learning_rate))
