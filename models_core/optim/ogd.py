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

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from models_core.optim._options import OptimizerOptions
from models_core.spec import field

if TYPE_CHECKING:
    import optax


class Options(OptimizerOptions, title="OGD"):
    """Gradient descent whose step falls with the root of time."""

    kind: Literal["ogd"] = field(
        "ogd", title="Optimizer", help="Gradient descent whose step falls with the root of time.", section="Optimizer"
    )
    lr: float = field(
        0.1, title="Learning rate", help="Step size after warm-up.", gt=0, le=100, format="log", section="Optimizer"
    )
    delta: float = field(
        0.0,
        title="Delta",
        help="Steps counted before the first.",
        ge=0,
        le=1_000_000,
        section="Optimizer",
        advanced=True,
    )


def build(options: Options, learning_rate: float | Callable[[Any], Any]) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import jax.numpy as jnp
    import optax

    # optax counts updates from 0.
    falling = optax.scale_by_schedule(lambda made: 1 / jnp.sqrt(jnp.asarray(made, jnp.float32) + (1 + options.delta)))
    return optax.chain(falling, optax.scale_by_learning_rate(learning_rate))
