"""Online gradient descent: step size falling with the root of time.

Source: Zinkevich, "Online convex programming and generalized infinitesimal gradient ascent", ICML 2003; the form with
delta is that of the comparisons in arXiv 2302.03764.

    w -= lr g / sqrt(t + delta) ,  t = 1, 2, ..

Reduces to: plain gradient descent, scaled, as delta grows.
Cost: one integer.

>>> Options().delta
0.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.optim._options import OptimizerOptions, kind_field, lr_field
from models_core.optim._stages import Rate, descend
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="OGD"):
    """Gradient descent whose step falls with the root of time."""

    kind: Literal["ogd"] = kind_field("ogd", "Gradient descent whose step falls with the root of time.")
    lr: float = lr_field(0.1)
    delta: float = field(
        0.0,
        title="Delta",
        help="Steps counted before the first.",
        ge=0,
        le=1_000_000,
        section="Optimizer",
        advanced=True,
    )


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import jax.numpy as jnp
    import optax

    # optax counts updates from 0.
    falling = optax.scale_by_schedule(lambda made: 1 / jnp.sqrt(jnp.asarray(made, float) + (1 + options.delta)))
    return descend(falling, weight_decay=0.0, rate=learning_rate)
