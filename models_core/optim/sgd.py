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

from typing import TYPE_CHECKING, Literal

from models_core.optim._options import OptimizerOptions, kind_field, lr_field, weight_decay_field
from models_core.optim._stages import Rate, descend
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="SGD"):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = kind_field("sgd", "Stochastic gradient descent with momentum.")
    lr: float = lr_field(0.05)
    momentum: float = field(
        0.9, title="Momentum", help="Decay of the velocity; 0 for none.", ge=0, lt=1, section="Optimizer"
    )
    nesterov: bool = field(
        False, title="Nesterov", help="Look ahead along the velocity.", section="Optimizer", advanced=True
    )
    weight_decay: float = weight_decay_field()


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import optax

    traces = [optax.trace(decay=options.momentum, nesterov=options.nesterov)] if options.momentum > 0 else []
    return descend(*traces, weight_decay=options.weight_decay, rate=learning_rate)
