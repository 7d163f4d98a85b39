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

from typing import TYPE_CHECKING, Literal

from models_core.optim._options import (
    OptimizerOptions,
    decay_field,
    eps_field,
    kind_field,
    lr_field,
    weight_decay_field,
)
from models_core.optim._stages import Rate, descend

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="RMSProp"):
    """Gradients over the root of their mean square."""

    kind: Literal["rmsprop"] = kind_field("rmsprop", "Gradients over the root of their mean square.")
    lr: float = lr_field(0.001)
    decay: float = decay_field(0.9, "Decay", "Decay of the mean squared gradient.")
    eps: float = eps_field(1e-8, "Added to the root.")
    weight_decay: float = weight_decay_field()


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import optax

    scaled = optax.scale_by_rms(decay=options.decay, eps=options.eps, eps_in_sqrt=False)
    return descend(scaled, weight_decay=options.weight_decay, rate=learning_rate)
