"""FedAvg: synchronous rounds, optionally with over-selection.

Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017,
algorithm 1; over-selection: Bonawitz et al., "Towards federated learning at scale", SysML 2019.

    ask m' = ceil(cohort (1 + over_selection)) clients, close the round at the `cohort`-th report, drop the rest
    w += server_lr sum(n_i delta_i) / sum(n_i),  delta_i = local model - w,  n_i = examples of client i

A round lasts until its `cohort`-th report; clients whose report was dropped stop at once and can be asked again.
Deviates: server_lr is the server step of Reddi et al., "Adaptive federated optimization", ICLR 2021.
Reduces to: the published FedAvg at over_selection 0 and server_lr 1.
Cost: one model on the server; m'/cohort times the client work that is used.

>>> Options(cohort=10, over_selection=0.3).clients_needed()
13
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from models_core.federated import _rounds, _server
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule
    from models_core.federated.simulation.schedule import Fleet, Schedule


class Options(_rounds.RoundOptions, title="FedAvg"):
    """Synchronous federated averaging."""

    kind: Literal["fedavg"] = field("fedavg", title="Algorithm", help="Synchronous rounds.", section="Algorithm")


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Rounds in which late reports are thrown away."""
    return _rounds.plan_rounds(options, fleet, steps=steps, until_s=until_s)


def build(options: Options) -> Rule:
    """w += server_lr D."""
    from models_core.federated.simulation.rule import server_rule

    return server_rule(_server.build(_server.Average(), options.server_lr))
