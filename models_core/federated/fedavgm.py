"""FedAvgM: FedAvg with momentum on the server.

Source: Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution for federated visual
classification", 2019.

    m = momentum m + D ;  w += server_lr m ,  D the weighted mean of the clients' changes

Reduces to: FedAvg at momentum 0.
Cost: one number a parameter on the server.

>>> Options().momentum
0.9
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from models_core.federated import _rounds, _server
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule
    from models_core.federated.simulation.schedule import Fleet, Schedule


class Options(_rounds.RoundOptions, title="FedAvgM"):
    """FedAvg with server momentum."""

    kind: Literal["fedavgm"] = field("fedavgm", title="Algorithm", help="FedAvg, momentum.", section="Algorithm")
    momentum: float = _server.momentum_field(0.9)


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Rounds in which late reports are thrown away."""
    return _rounds.plan_rounds(options, fleet, steps=steps, until_s=until_s)


def build(options: Options) -> Rule:
    """Momentum on the averaged change."""
    from models_core.federated.simulation.rule import server_rule

    return server_rule(_server.build(_server.Momentum(momentum=options.momentum), options.server_lr))
