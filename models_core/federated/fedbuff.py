"""FedBuff: asynchronous clients, a server step after every few reports.

Source: Nguyen et al., "Federated learning with buffered asynchronous aggregation", AISTATS 2022 (arXiv 2106.06639),
algorithm 1.

    `concurrency` clients are always at work; a report frees its slot, an idle client starts from the current model w_t
    after `buffer` reports:  w_{t+1} = w_t + server_lr sum_i s(tau_i) delta_i / divisor ,  s(tau) = (1 +
    tau)^-staleness_exponent tau_i = t - (number of the model that client i started from)

divisor = buffer (the paper: stale steps shrink), the sum of the s(tau_i) (they do not), or "average": buffer times s of
the step's mean staleness.
Deviates: reports that arrive at the same instant are all handled, and their server steps made, before their slots are
refilled. Reports staler than max_staleness are dropped; the paper has no such bound. Clients have equal weight, as in
the paper. `server` replaces the plain step by any server optimizer, and `cutoff` s(tau) by a threshold.
Reduces to: FedAvg on the same cohorts at buffer = concurrency = cohort, equal latencies and equal client sizes.
Cost: as many past models as the largest staleness + 1 in the simulator; one buffer on a real server.

>>> Options(concurrency=20, buffer=5).clients_needed()
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
    from models_core.federated.simulation.schedule import Fleet, Report, Schedule


class Options(AlgorithmOptions, title="FedBuff"):
    """Asynchronous federated averaging with a buffer."""

    kind: Literal["fedbuff"] = field(
        "fedbuff", title="Algorithm", help="Asynchronous, with a buffer.", section="Algorithm"
    )
    concurrency: int = field(
        20, title="Concurrency", help="Clients always at work.", unit="clients", ge=1, le=10_000, section="Algorithm"
    )
    buffer: int = field(
        10,
        title="Buffer",
        help="Reports that make a server step.",
        unit="reports",
        ge=1,
        le=10_000,
        section="Algorithm",
    )
    staleness_exponent: float = field(
        0.5, title="Staleness exponent", help="0: stale reports count in full.", ge=0, le=10, section="Algorithm"
    )
    cutoff: int = field(
        0,
        title="Staleness cutoff",
        help="Reports staler than this count by the cutoff weight instead; 0: none.",
        unit="steps",
        ge=0,
        le=1000,
        section="Algorithm",
        advanced=True,
    )
    cutoff_weight: float = field(
        0.1, title="Cutoff weight", help="Of reports beyond the cutoff.", ge=0, le=1, section="Algorithm", advanced=True
    )
    divisor: Literal["buffer", "weights", "average"] = field(
        "buffer",
        title="Divide by",
        help="The number of reports, the sum of their weights, or the weight of the mean staleness times the number.",
        section="Algorithm",
        advanced=True,
    )
    max_staleness: int = field(
        50,
        title="Largest staleness",
        help="Staler reports are dropped.",
        unit="steps",
        ge=0,
        le=1000,
        section="Algorithm",
        advanced=True,
    )
    server_lr: float = field(
        1.0, title="Server rate", help="Factor on the averaged change.", gt=0, le=100, format="log", section="Algorithm"
    )
    server: _server.AnyServer = field(
        _server.Average(),
        title="Server optimizer",
        help="What the server does with a buffer.",
        section="Algorithm",
        advanced=True,
    )

    def clients_needed(self) -> int:
        """All that are at work at once."""
        return self.concurrency


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """The schedule of `steps` server steps; reports of a step are ordered by arrival, ties by the order of starting."""
    return plan_buffered(options, fleet, steps=steps, until_s=until_s)


def build(options: Options) -> Rule:
    """The server optimizer's step on the weighted sum of the buffer."""
    from models_core.federated.simulation.rule import server_rule

    return server_rule(_server.build(options.server, options.server_lr))


def plan_buffered(options: Options, fleet: Fleet, *, steps: int, until_s: float) -> Schedule:
    """A server step after every `buffer` reports."""
    from models_core.federated.simulation.clock import EventClock
    from models_core.federated.simulation.schedule import Ledger

    ledger = Ledger(len(fleet.sizes))
    clock = EventClock(fleet, ledger, options.concurrency)
    version = 0
    buffer: list[Report] = []
    while version < steps:
        clock.fill(version)
        reports = clock.arrivals()
        if clock.now_s > until_s:
            break
        for report in reports:
            if version == steps:
                break
            if version - report.version > options.max_staleness:
                ledger.too_old += 1
                ledger.wasted_s += report.duration_s
                continue
            buffer.append(report)
            if len(buffer) == options.buffer:
                ledger.step(buffer, _weights(options, [version - kept.version for kept in buffer]), clock.now_s)
                buffer = []
                version += 1
    return ledger.schedule()


def _weights(options: Options, staleness: list[int]) -> list[float]:
    def weight(tau: float) -> float:
        if options.cutoff and tau > options.cutoff:
            return options.cutoff_weight
        return float((1.0 + tau) ** -options.staleness_exponent)

    weights = [weight(tau) for tau in staleness]
    divisor = float(options.buffer)
    if options.divisor == "weights":
        divisor = sum(weights)
    elif options.divisor == "average":
        divisor *= weight(sum(staleness) / len(staleness))
    return [weight / max(divisor, 1e-12) for weight in weights]
