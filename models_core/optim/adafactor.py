"""Adafactor: the second moment of a matrix from its row and column means.

Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", ICML 2018, algorithms 4 and
5. The arithmetic is optax's. Per tensor, with decay_t = 1 - t^-decay, over its two longest axes if both have at least
`min_factored` entries:

    r = decay_t r + (1-decay_t) mean over columns of (g^2 + eps) ;  c likewise over rows ;  v = r c / mean(r)
    u = g / sqrt(v) ;  u /= max(1, rms(u)/clip) ;  u *= max(scale_floor, rms(w))  with `relative`
    m = beta1 m + (1-beta1) u, u = m  with beta1 > 0 ;  w -= lr (u + weight_decay w)

Deviates: the step size is the learning rate times the parameters' scale, without the paper's own 1/sqrt(t) schedule;
weight decay is times the learning rate (optax's is not). PyTorch's own Adafactor factors matrices of any size, takes
the schedule's minimum with the learning rate, and its decay starts one step earlier.
Reduces to: RMSProp with a growing average, clipped, where nothing is factored and `relative` is off.
Cost: n + m numbers for an n x m matrix, one a parameter elsewhere and one more with beta1 > 0.

>>> Options().min_factored
128
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.optim._options import (
    OptimizerOptions,
    decay_field,
    eps_field,
    kind_field,
    lr_field,
    weight_decay_field,
)
from models_core.optim._stages import Rate, descend, relaxed
from models_core.spec import field

if TYPE_CHECKING:
    import optax

# The least root mean square that a parameter's scale counts for: epsilon_2 of the paper.
SCALE_FLOOR = 1e-3


class Options(OptimizerOptions, title="Adafactor"):
    """Second moments from rows and columns."""

    kind: Literal["adafactor"] = kind_field("adafactor", "Second moments from row and column means (Adafactor).")
    lr: float = lr_field(0.01)
    decay: float = field(
        0.8,
        title="Decay",
        help="Exponent of the step in the average's weight.",
        gt=0,
        le=1,
        section="Optimizer",
        advanced=True,
    )
    clip: float = field(
        1.0, title="Clip", help="Largest root mean square of a tensor's step.", gt=0, section="Optimizer", advanced=True
    )
    relative: bool = field(
        True, title="Relative steps", help="Times the size of the tensor's weights.", section="Optimizer"
    )
    min_factored: int = field(
        128, title="Factor from", help="Shortest axis that is factored.", ge=2, section="Optimizer", advanced=True
    )
    beta1: float = decay_field(0.0, "Beta 1", "Decay of the averaged step; 0 for none.")
    eps: float = eps_field(1e-30, "Added to the squared gradient.")
    weight_decay: float = weight_decay_field()


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    import optax

    stages = [
        optax.scale_by_factored_rms(
            decay_rate=options.decay, min_dim_size_to_factor=options.min_factored, epsilon=options.eps
        ),
        optax.clip_by_block_rms(options.clip),
    ]
    if options.relative:
        stages.append(optax.scale_by_param_block_rms(SCALE_FLOOR))
    if options.beta1 > 0:
        stages.append(optax.ema(options.beta1, debias=False))
    return descend(relaxed(optax.chain(*stages)), weight_decay=options.weight_decay, rate=learning_rate)
