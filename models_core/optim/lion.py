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

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from models_core.optim._options import OptimizerOptions
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="Lion"):
    """Sign of an interpolated momentum."""

    kind: Literal["lion"] = field(
        "lion", title="Optimizer", help="Sign of an interpolated momentum.", section="Optimizer"
    )
    lr: float = field(
        0.0003, title="Learning rate", help="Step size after warm-up.", gt=0, le=100, format="log", section="Optimizer"
    )
    beta1: float = field(
        0.9,
        title="Beta 1",
        help="Share of the momentum in the step.",
        ge=0,
        lt=1,
        section="Optimizer",
        advanced=True,
    )
    beta2: float = field(
        0.99,
        title="Beta 2",
        help="Decay of the momentum.",
        ge=0,
        lt=1,
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

    stages = [optax.scale_by_lion(b1=options.beta1, b2=options.beta2)]
    if options.weight_decay > 0:
        stages.append(optax.add_decayed_weights(options.weight_decay))
    return optax.chain(*stages, optax.scale_by_learning_rate(learning_rate))
