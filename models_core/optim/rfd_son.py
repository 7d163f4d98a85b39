"""RFD-SON: sketched online Newton with robust frequent directions.

Source: Luo, Chen, Zhang, Li and Zhang, "Robust frequent directions with application in online learning", JMLR 2019
(arXiv 1705.05067), algorithm 3. Per tensor, g its gradient as a vector, t = 1, 2, ..

    online:  row = g / sqrt(lr t) ;  sketch of the rows: basis U, roots s, cut     (`_frequent_directions`)
             alpha += cut^2/2 , from delta ;  w -= (U s^2 U^T + alpha I)^-1 g ,  inverse of 0 is 0
    deep:    row = sqrt(1/8 + 1/t) g ;  m = beta1 m + (1-beta1) g
             w -= lr ( (U s^2 U^T + alpha I)^-1 m + weight_decay w )

`deep` is what the authors of SONew compare with as rfdSON (they start at delta = 0.1); the rest of this repository's
comparisons of online methods use `online`.
Deviates: per tensor, where the paper has one vector. beta1 and weight_decay act in `deep` only.
Reduces to: full-matrix online Newton at rank >= size of the tensor.
Cost: time O(n rank^2), memory n rank + rank + 1 for a tensor of n entries, n more for the momentum of `deep`.

>>> Options(rank=4).delta
0.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models_core.optim._frequent_directions import absorb, empty, power_times
from models_core.optim._options import OptimizerOptions, decay_field, kind_field, lr_field, weight_decay_field
from models_core.optim._sketched import sketched
from models_core.optim._stages import Rate, descend
from models_core.spec import field

if TYPE_CHECKING:
    import optax
    from jax import Array

    from models_core.optim._frequent_directions import Sketch

# Strong convexity that the authors of SONew assume of the loss.
CURVATURE = 1 / 8


class Options(OptimizerOptions, title="RFD-SON"):
    """Sketched online Newton, robust."""

    kind: Literal["rfd_son"] = kind_field("rfd_son", "Online Newton on a robust sketch (RFD-SON).")
    lr: float = lr_field(0.1)
    variant: Literal["online", "deep"] = field(
        "online",
        title="Variant",
        help="Learning rate inside the sketch, or in front of the step with momentum.",
        section="Optimizer",
    )
    rank: int = field(
        10, title="Rank", help="Directions kept of each tensor's gradients.", ge=1, le=1024, section="Optimizer"
    )
    delta: float = field(
        0.0, title="Delta", help="Where alpha starts.", ge=0, le=1e6, section="Optimizer", advanced=True
    )
    beta1: float = decay_field(0.9, "Beta 1", "Decay of the mean gradient, in the deep variant.")
    weight_decay: float = weight_decay_field()


class DeepState(NamedTuple):
    """step: updates made. mean: m, a tree. sketches: one for each tensor."""

    step: Array
    mean: Any
    sketches: Any


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    if options.variant == "deep":
        return descend(_deep(options), weight_decay=options.weight_decay, rate=learning_rate)

    def apply(sketch: Sketch, column: Array) -> Array:
        return power_times(sketch, column, -1.0, options.delta)

    return sketched(
        learning_rate, options.rank, weight=lambda t, r: (r * t) ** -0.5, escape=0.5, apply=apply, inner=True
    )


def _deep(options: Options) -> optax.GradientTransformation:
    import jax
    import jax.numpy as jnp
    import optax

    def exact(leaf: Array) -> Any:
        return jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32

    def init(params: Any) -> DeepState:
        return DeepState(
            jnp.zeros((), jnp.int32),
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, exact(leaf)), params),
            jax.tree.map(lambda leaf: empty(leaf.size, options.rank, exact(leaf)), params),
        )

    def update(grads: Any, state: DeepState, params: Any = None) -> tuple[Any, DeepState]:
        step = optax.safe_increment(state.step)

        def absorbed(m: Array, g: Array, sketch: Sketch) -> Sketch:
            row = jnp.sqrt(CURVATURE + 1 / step.astype(m.dtype)) * g.astype(m.dtype)
            return absorb(sketch, row.reshape(-1, 1), 1.0, escape=0.5)

        def direction(g: Array, m: Array, sketch: Sketch) -> Array:
            return power_times(sketch, m.reshape(-1, 1), -1.0, options.delta).reshape(g.shape).astype(g.dtype)

        mean = jax.tree.map(lambda m, g: options.beta1 * m + (1 - options.beta1) * g.astype(m.dtype), state.mean, grads)
        sketches = jax.tree.map(absorbed, mean, grads, state.sketches)
        return jax.tree.map(direction, grads, mean, sketches), DeepState(step, mean, sketches)

    return optax.GradientTransformation(init, update)
