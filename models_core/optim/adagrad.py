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

from typing import TYPE_CHECKING, Literal

from models_core.optim._options import OptimizerOptions, kind_field, lr_field, weight_decay_field
from models_core.optim._stages import Rate, descend
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="AdaGrad"):
    """Gradients over the root of their summed squares."""

    kind: Literal["adagrad"] = kind_field("adagrad", "Gradients over the root of their summed squares.")
    lr: float = lr_field(0.03)
    delta: float = field(
        0.0, title="Delta", help="Where the sum of squares starts.", ge=0, le=1, section="Optimizer", advanced=True
    )
    weight_decay: float = weight_decay_field()


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import optax

    scaled = optax.scale_by_rss(initial_accumulator_value=options.delta, eps=0.0)
    return descend(scaled, weight_decay=options.weight_decay, rate=learning_rate)
