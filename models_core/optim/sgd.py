"""Stochastic gradient descent with momentum.

Source: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; Nesterov's form: Sutskever et
al., "On the importance of initialization and momentum in deep learning", ICML 2013. The arithmetic is optax's.

    m = momentum m + g ;  w -= lr (m + weight_decay w)              nesterov: g + momentum m in place of m

Reduces to: plain gradient descent at momentum 0.
Cost: one number a parameter with momentum, none without.

>>> Options(lr=0.1).momentum
0.9
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from models_core.optim._options import OptimizerOptions
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="SGD"):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = field(
        "sgd", title="Optimizer", help="Stochastic gradient descent with momentum.", section="Optimizer"
    )
    lr: float = field(
        0.05, title="Learning rate", help="Step size after warm-up.", gt=0, le=100, format="log", section="Optimizer"
    )
    momentum: float = field(
        0.9, title="Momentum", help="Decay of the velocity; 0 for none.", ge=0, lt=1, section="Optimizer"
    )
    nesterov: bool = field(
        False, title="Nesterov", help="Look ahead along the velocity.", section="Optimizer", advanced=True
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

    stages = []
    if options.momentum > 0:
        stages.append(optax.trace(decay=options.momentum, nesterov=options.nesterov))
    if options.weight_decay > 0:
        stages.append(optax.add_decayed_weights(options.weight_decay))
    return optax.chain(*stages, optax.scale_by_learning_rate(learning_rate))
