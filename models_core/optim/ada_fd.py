"""Ada-FD: AdaGrad on a frequent-directions sketch with a fixed diagonal.

Source: Wan and Zhang, "Efficient adaptive online learning via frequent directions", IJCAI 2018. Per tensor, g its
gradient as a vector:

    sketch of sum g g^T : basis U, roots s                                         (`_frequent_directions`)
    w -= lr [ U (s + delta)^-1 U^T g + (g - U U^T g) / delta ]

Deviates: per tensor, where the paper has one vector. delta joins the roots, not the eigenvalues, as in the paper.
Reduces to: full-matrix AdaGrad at rank >= size of the tensor, as delta vanishes; gradient descent by lr/delta as it
grows.
Cost: time O(n rank^2), memory n rank + rank + 1 for a tensor of n entries.

>>> Options(rank=4).delta
1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.optim._frequent_directions import roots_inverse_times
from models_core.optim._options import OptimizerOptions, kind_field, lr_field
from models_core.optim._sketched import sketched
from models_core.optim._stages import Rate
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array

    from models_core.optim._frequent_directions import Sketch


class Options(OptimizerOptions, title="Ada-FD"):
    """AdaGrad on a sketch with a fixed diagonal."""

    kind: Literal["ada_fd"] = kind_field("ada_fd", "AdaGrad on a sketch with a fixed diagonal (Ada-FD).")
    lr: float = lr_field(0.1)
    rank: int = field(
        10, title="Rank", help="Directions kept of each tensor's gradients.", ge=1, le=1024, section="Optimizer"
    )
    delta: float = field(
        1.0, title="Delta", help="Added to every root.", gt=0, le=1e6, format="log", section="Optimizer"
    )


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import jax.numpy as jnp

    def apply(sketch: Sketch, column: Array) -> Array:
        return roots_inverse_times(sketch, column, options.delta)

    return sketched(
        learning_rate, options.rank, weight=lambda t, r: jnp.ones_like(t), escape=0.0, apply=apply, inner=False
    )
