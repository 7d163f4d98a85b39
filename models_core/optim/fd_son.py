"""FD-SON: sketched online Newton with frequent directions.

Source: Luo, Agarwal, Cesa-Bianchi and Langford, "Efficient second order online learning by sketching", NeurIPS 2016
(arXiv 1602.02202), algorithms 1 and 3. Per tensor, g its gradient as a vector, t = 1, 2, ..

    row = g / sqrt(lr sqrt(t)) ;  sketch of the rows: basis U, roots s             (`_frequent_directions`)
    w -= (U s^2 U^T + delta I)^-1 g

Deviates: per tensor, where the paper has one vector. The paper's constants are all in lr.
Reduces to: full-matrix online Newton at rank >= size of the tensor; gradient descent by 1/delta as lr grows.
Cost: time O(n rank^2), memory n rank + rank + 1 for a tensor of n entries.

>>> Options(rank=4).delta
1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.optim._frequent_directions import power_times
from models_core.optim._options import OptimizerOptions, kind_field, lr_field
from models_core.optim._sketched import sketched
from models_core.optim._stages import Rate
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array

    from models_core.optim._frequent_directions import Sketch


class Options(OptimizerOptions, title="FD-SON"):
    """Sketched online Newton."""

    kind: Literal["fd_son"] = kind_field("fd_son", "Online Newton on a sketch (FD-SON).")
    lr: float = lr_field(0.1)
    rank: int = field(
        10, title="Rank", help="Directions kept of each tensor's gradients.", ge=1, le=1024, section="Optimizer"
    )
    delta: float = field(
        1.0, title="Delta", help="Added to every eigenvalue.", gt=0, le=1e6, format="log", section="Optimizer"
    )


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""

    def apply(sketch: Sketch, column: Array) -> Array:
        return power_times(sketch, column, -1.0, options.delta)

    return sketched(
        learning_rate, options.rank, weight=lambda t, r: (r * t**0.5) ** -0.5, escape=0.0, apply=apply, inner=True
    )
