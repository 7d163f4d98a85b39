"""AdamW: Adam whose weight decay is on by default.

Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2. The rule is that of
`models_core.optim.adam`; the defaults are those of its common implementations.

    w -= lr ( m/(1-beta1^t) / (sqrt(v/(1-beta2^t)) + eps) + weight_decay w )

Deviates: decay is times the learning rate, schedule and all, as in optax and PyTorch; the paper has one schedule for
both beside the learning rate.
Reduces to: Adam at weight_decay = 0.
Cost: two numbers a parameter.

>>> Options().weight_decay
0.01
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.optim import adam
from models_core.optim._options import kind_field, lr_field, weight_decay_field
from models_core.optim._stages import Rate

if TYPE_CHECKING:
    import optax


class Options(adam.Options, title="AdamW"):
    """Adam with weight decay."""

    kind: Literal["adamw"] = kind_field("adamw", "Adam with decoupled weight decay on.")  # type: ignore[assignment]
    lr: float = lr_field(0.001)
    weight_decay: float = weight_decay_field(0.01)


def build(options: Options, learning_rate: Rate) -> optax.GradientTransformation:
    """The transformation; `learning_rate` is a step size > 0 or a schedule over updates."""
    return adam.build(options, learning_rate)
