"""S-AdaGrad: full-matrix AdaGrad on a frequent-directions sketch.

Source: Feinberg, Chen, Sun, Anil and Hazan, "Sketchy: memory-efficient adaptive regularization with frequent
directions", NeurIPS 2023 (arXiv 2302.03764), algorithm 2. Per tensor, g its gradient as a vector:

    sketch of sum g g^T : basis U, roots s, escaped mass alpha      (`_frequent_directions`)
    w -= lr [ U (s^2 + alpha + delta)^-1/2 U^T g + (alpha + delta)^-1/2 (g - U U^T g) ] ,  inverse of 0 is 0

Deviates: per tensor, where the paper has one vector; `rank` directions are kept, where the authors' code keeps one less
than its sketch size. delta and beta2 < 1 are additions, off by default.
Reduces to: full-matrix AdaGrad at rank >= size of the tensor.
Cost: time O(n rank^2), memory n rank + rank + 1 for a tensor of n entries.

>>> Options(rank=4).beta2
1.0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from models_core.optim._frequent_directions import absorb, empty, power_times
from models_core.optim._options import OptimizerOptions
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array

    from models_core.optim._frequent_directions import Sketch


class Options(OptimizerOptions, title="S-AdaGrad"):
    """Full-matrix AdaGrad on a sketch."""

    kind: Literal["s_adagrad"] = field(
        "s_adagrad", title="Optimizer", help="Sketched full-matrix AdaGrad (Sketchy).", section="Optimizer"
    )
    lr: float = field(
        0.1, title="Learning rate", help="Step size after warm-up.", gt=0, le=100, format="log", section="Optimizer"
    )
    rank: int = field(
        10, title="Rank", help="Directions kept of each tensor's gradients.", ge=1, le=1024, section="Optimizer"
    )
    beta2: float = field(
        1.0, title="Beta 2", help="Decay of the sum; 1 for AdaGrad.", gt=0, le=1, section="Optimizer", advanced=True
    )
    delta: float = field(
        0.0, title="Delta", help="Added to every eigenvalue.", ge=0, le=1, section="Optimizer", advanced=True
    )


def build(options: Options, learning_rate: float | Callable[[Any], Any]) -> optax.GradientTransformation:
    """The transformation; its state is a sketch for each tensor. `learning_rate`: step size > 0 or a schedule."""
    import jax
    import jax.numpy as jnp
    import optax

    def computed_dtype(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32

    def init(params: Any) -> Any:
        return jax.tree.map(lambda leaf: empty(leaf.size, options.rank, computed_dtype(leaf)), params)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        columns = jax.tree.map(lambda g: g.astype(computed_dtype(g)).reshape(-1, 1), grads)
        sketches = jax.tree.map(lambda column, sketch: absorb(sketch, column, options.beta2), columns, state)

        def direction(g: Array, column: Array, sketch: Sketch) -> Array:
            return power_times(sketch, column, -0.5, options.delta).reshape(g.shape).astype(g.dtype)

        return jax.tree.map(direction, grads, columns, sketches), sketches

    return optax.chain(optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate))
