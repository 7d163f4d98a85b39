"""FedAdam: FedAvg whose server takes the step of Adam.

Source: Reddi et al., "Adaptive federated optimization", ICLR 2021 (arXiv 2003.00295), algorithm 2.

    m = beta1 m + (1-beta1) D ;  v = beta2 v + (1-beta2) D^2 ;  w += server_lr m / (sqrt(v) + eps)

D is the weighted mean of the clients' changes and points downhill. eps decides early, while v is small: 1e-4 to 1e-1
by task. Deviates: v starts at 0; bias_correction is optax's and Keras's, the paper has none.
Reduces to: FedAvg with rate server_lr / eps at beta1 = beta2 = 0 and eps far above |D|.
Cost: two numbers a parameter on the server.

>>> Options().server_lr
0.1
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from models_core.federated import _rounds, _server
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule
    from models_core.federated.simulation.schedule import Fleet, Schedule


class Options(_rounds.RoundOptions, title="FedAdam"):
    """FedAvg with Adam on the server."""

    kind: Literal["fedadam"] = field("fedadam", title="Algorithm", help="Adam on the server.", section="Algorithm")
    server_lr: float = field(
        0.1, title="Server rate", help="Step size of the server.", gt=0, le=100, format="log", section="Algorithm"
    )
    beta1: float = _server.beta1_field(0.9)
    beta2: float = _server.beta2_field(0.99)
    eps: float = _server.eps_field(1e-2)
    bias_correction: bool = _server.bias_field()


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Rounds in which late reports are thrown away."""
    return _rounds.plan_rounds(options, fleet, steps=steps, until_s=until_s)


def build(options: Options) -> Rule:
    """The step of Adam on the averaged change."""
    from models_core.federated.simulation.rule import server_rule

    return server_rule(
        _server.build(
            _server.Adam(
                beta1=options.beta1, beta2=options.beta2, eps=options.eps, bias_correction=options.bias_correction
            ),
            options.server_lr,
        )
    )
