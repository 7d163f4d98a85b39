"""FedProx: FedAvg whose clients are held near the model they were sent.

Source: Li et al., "Federated optimization in heterogeneous networks", MLSys 2020 (arXiv 1812.06127), algorithm 2.

    client i minimises  loss_i(y) + prox_mu/2 ||y - w||^2 ;  the server averages as FedAvg does

Deviates: every client works for the same number of epochs; the paper also lets slow clients stop early.
Reduces to: FedAvg at prox_mu 0.
Cost: that of FedAvg; a client keeps the model it was sent.

>>> Options().prox_mu
0.01
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from models_core.federated import _rounds, _server
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule
    from models_core.federated.simulation.schedule import Fleet, Schedule


class Options(_rounds.RoundOptions, title="FedProx"):
    """FedAvg with a proximal term on the clients."""

    kind: Literal["fedprox"] = field("fedprox", title="Algorithm", help="Clients held near.", section="Algorithm")
    prox_mu: float = field(
        0.01,
        title="Proximal weight",
        help="Of half the squared distance to the model sent.",
        ge=0,
        le=100,
        section="Algorithm",
    )


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Rounds in which late reports are thrown away."""
    return _rounds.plan_rounds(options, fleet, steps=steps, until_s=until_s)


def build(options: Options) -> Rule:
    """w += server_lr D; the clients' loss has the proximal term."""
    from models_core.federated.simulation.rule import server_rule

    return server_rule(_server.build(_server.Average(), options.server_lr), prox_mu=options.prox_mu)
