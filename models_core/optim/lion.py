"""Lion, sign of an interpolated momentum.

Source: Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023 (arXiv 2302.06675), algorithm 2. The
arithmetic is optax's.

    u = sign(beta1 m + (1-beta1) g) ;  m = beta2 m + (1-beta2) g ;  w -= lr (u + weight_decay w)

Reduces to: sign descent at beta1 = 0.
Cost: one number a parameter.

>>> Options().beta1
0.9
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.optim._options import OptimizerOptions, decay_field, kind_field, lr_field, weight_decay_field
from models_core.optim._stages import Rate, descend

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="Lion"):
    """Sign of an interpolated momentum."""

    kind: Literal["lion"] = kind_field("lion", "Sign of an interpolated momentum.")
    lr: float = lr_field(0.0003)
    beta1: float = decay_field(0.9, "Beta 1", "Share of the momentum in the step.")
    beta2: float = decay_field(0.99, "Beta 2", "Decay of the momentum.")
    weight_decay: float = weight_decay_field()


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import optax

    lion = optax.scale_by_lion(b1=options.beta1, b2=options.beta2)
    return descend(lion, weight_decay=options.weight_decay, rate=learning_rate)
