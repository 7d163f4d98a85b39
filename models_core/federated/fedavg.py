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

from models_core.federated._options import AlgorithmOptions
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.schedule import Fleet, Schedule


class Options(AlgorithmOptions, title="FedAvg"):
    """Synchronous federated averaging."""

    kind: Literal["fedavg"] = field("fedavg", title="Algorithm", help="Synchronous rounds.", section="Algorithm")
    cohort: int = field(
        10, title="Cohort", help="Reports that close a round.", unit="clients", ge=1, le=10_000, section="Algorithm"
    )
    over_selection: float = field(
        0.0,
        title="Over-selection",
        help="Share of further clients that are asked; the slowest are dropped.",
        ge=0,
        le=10,
        section="Algorithm",
    )
    server_lr: float = field(
        1.0, title="Server rate", help="Factor on the averaged change.", gt=0, le=100, format="log", section="Algorithm"
    )

    def clients_needed(self) -> int:
        """m' of the module's docstring; the small slack keeps 10 x 1.3 at 13 in floating point."""
        return math.ceil(self.cohort * (1 + self.over_selection) - 1e-9)


def plan(options: Options, fleet: Fleet, *, steps: int) -> Schedule:
    """The schedule of `steps` rounds; reports of a round are ordered by arrival, ties by the order of asking."""
    from models_core.federated.simulation.schedule import Ledger, Report

    ledger = Ledger(len(fleet.sizes))
    clock_s = 0.0
    for step in range(steps):
        asked = []
        for client in fleet.order(step)[: options.clients_needed()].tolist():
            participation = ledger.start(client)
            duration_s = fleet.latency(client, participation)
            asked.append(Report(client, participation, step, clock_s + duration_s, duration_s))
        asked.sort(key=lambda report: report.arrival_s)
        used, late = asked[: options.cohort], asked[options.cohort :]
        round_s = used[-1].duration_s
        clock_s += round_s
        ledger.received += len(used)
        ledger.late += len(late)
        ledger.wasted_s += round_s * len(late)
        examples = [fleet.sizes[report.client] for report in used]
        ledger.step(used, [count / sum(examples) for count in examples], clock_s)
    return ledger.schedule()
