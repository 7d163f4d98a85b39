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

from typing import TYPE_CHECKING, Literal

from models_core.optim._options import (
    OptimizerOptions,
    decay_field,
    eps_field,
    kind_field,
    lr_field,
    weight_decay_field,
)
from models_core.optim._stages import Rate, descend, relaxed

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="Adam"):
    """Adam with decoupled weight decay."""

    kind: Literal["adam"] = kind_field("adam", "Adam with decoupled weight decay.")
    lr: float = lr_field(0.003)
    beta1: float = decay_field(0.9, "Beta 1", "Decay of the mean gradient.")
    beta2: float = decay_field(0.999, "Beta 2", "Decay of the mean squared gradient.")
    eps: float = eps_field(1e-8, "Added to the root of the mean square.")
    weight_decay: float = weight_decay_field()


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import optax

    adam = relaxed(optax.scale_by_adam(b1=options.beta1, b2=options.beta2, eps=options.eps))
    return descend(adam, weight_decay=options.weight_decay, rate=learning_rate)
