"""Nesterov's accelerated gradient.

Source: Nesterov, "A method for solving the convex programming problem with convergence rate O(1/k^2)", 1983, as in
Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013. The rule is that of
`models_core.optim.sgd` with `nesterov` on, under a name of its own for tables.

    m = momentum m + g ;  w -= lr (g + momentum m + weight_decay w)

Reduces to: gradient descent at momentum 0.
Cost: one number a parameter.

>>> Options().nesterov
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.optim import sgd
from models_core.optim._options import kind_field
from models_core.optim._stages import Rate
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(sgd.Options, title="Nesterov"):
    """Momentum that looks ahead."""

    kind: Literal["nesterov"] = kind_field("nesterov", "Momentum that looks ahead.")  # type: ignore[assignment]
    nesterov: Literal[True] = field(True, title="Nesterov", help="Always on here.", section="Optimizer", advanced=True)


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    return sgd.build(options, learning_rate)
