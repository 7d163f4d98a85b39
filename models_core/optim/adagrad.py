"""AdaGrad, diagonal.

Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization", JMLR
2011, figure 1, diagonal matrices. The arithmetic is optax's.

    v += g^2 , from v = delta ;  w -= lr ( g / sqrt(v) + weight_decay w ) ,  inverse of 0 is 0

Deviates: delta is where the sum starts, under the root; the paper adds it to the root.
Reduces to: sign descent on the first step at delta = 0.
Cost: one number a parameter.

>>> Options().delta
0.0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from models_core.optim._options import OptimizerOptions
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="AdaGrad"):
    """Gradients over the root of their summed squares."""

    kind: Literal["adagrad"] = field(
        "adagrad", title="Optimizer", help="Gradients over the root of their summed squares.", section="Optimizer"
    )
    lr: float = field(
        0.03, title="Learning rate", help="Step size after warm-up.", gt=0, le=100, format="log", section="Optimizer"
    )
    delta: float = field(
        0.0,
        title="Delta",
        help="Where the sum of squares starts.",
        ge=0,
        le=1,
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

    stages = [optax.scale_by_rss(initial_accumulator_value=options.delta, eps=0.0)]
    if options.weight_decay > 0:
        stages.append(optax.add_decayed_weights(options.weight_decay))
    return optax.chain(*stages, optax.scale_by_learning_rate(learning_rate))
