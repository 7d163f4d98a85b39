"""FedAsync: asynchronous clients, a server step after every report.

Source: Xie, Koyejo and Gupta, "Asynchronous federated optimization", 2019 (arXiv 1903.03934), algorithm 1.

    w = (1 - alpha) w + alpha y_i ,  alpha = server_lr s(tau) ,  s(tau) = (1 + tau)^-staleness_exponent

The report's model y_i is compared with the *present* model; FedBuff compares it with the one the client began with.
Deviates: the paper's proximal term is left out (`anchor="begin"` is what FLSim's notes found to work better).
Reduces to: FedBuff with buffer 1 at anchor "begin".
Cost: as many past models as the largest staleness + 1 in the simulator.

>>> Options(concurrency=20).clients_needed()
20
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from models_core.federated import _server
from models_core.federated._options import AlgorithmOptions
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule
    from models_core.federated.simulation.schedule import Fleet, Schedule


class Options(AlgorithmOptions, title="FedAsync"):
    """Asynchronous federated optimization."""

    kind: Literal["fedasync"] = field("fedasync", title="Algorithm", help="A step a report.", section="Algorithm")
    server_lr: float = field(
        0.3, title="Mixing rate", help="Share of a fresh report in the model.", gt=0, le=1, section="Algorithm"
    )
    concurrency: int = field(
        20, title="Concurrency", help="Clients always at work.", unit="clients", ge=1, le=10_000, section="Algorithm"
    )
    staleness_exponent: float = field(
        0.5, title="Staleness exponent", help="0: stale reports count in full.", ge=0, le=10, section="Algorithm"
    )
    max_staleness: int = field(
        100,
        title="Largest staleness",
        help="Staler reports are dropped.",
        unit="steps",
        ge=0,
        le=1000,
        section="Algorithm",
        advanced=True,
    )
    anchor: Literal["present", "begin"] = field(
        "present",
        title="Compare with",
        help="The present model, or the one the client began with.",
        section="Algorithm",
        advanced=True,
    )

    def clients_needed(self) -> int:
        """All that are at work at once."""
        return self.concurrency


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """A server step at every arrival that is not too stale."""
    from models_core.federated.simulation.clock import EventClock
    from models_core.federated.simulation.schedule import Ledger

    ledger = Ledger(len(fleet.sizes))
    clock = EventClock(fleet, ledger, options.concurrency)
    while ledger.steps < steps:
        clock.fill(ledger.steps)
        reports = clock.arrivals()
        if clock.now_s > until_s:
            break
        for report in reports:
            tau = ledger.steps - report.version
            if ledger.steps == steps:
                break
            if tau > options.max_staleness:
                ledger.too_old += 1
                ledger.wasted_s += report.duration_s
                continue
            ledger.step([report], [(1.0 + tau) ** -options.staleness_exponent], clock.now_s)
    return ledger.schedule()


def build(options: Options) -> Rule:
    """w += server_lr s(tau) (y - w)."""
    from models_core.federated.simulation.rule import server_rule

    return server_rule(_server.build(_server.Average(), options.server_lr), anchor=options.anchor)
