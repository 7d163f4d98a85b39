"""FedBuff: asynchronous clients, a server step after every few reports.

Source: Nguyen et al., "Federated learning with buffered asynchronous aggregation", AISTATS 2022 (arXiv 2106.06639),
algorithm 1.

    `concurrency` clients are always at work; a report frees its slot, an idle client starts from the current model w_t
    after `buffer` reports:  w_{t+1} = w_t + server_lr sum_i s(tau_i) delta_i / divisor ,  s(tau) = (1 +
    tau)^-staleness_exponent tau_i = t - (number of the model that client i started from)

divisor = buffer (the paper: stale steps shrink) or the sum of the s(tau_i) (they do not).
Deviates: reports that arrive at the same instant are all handled, and their server steps made, before their slots are
refilled. Reports staler than max_staleness are dropped; the paper has no such bound. Clients have equal weight, as in
the paper.
Reduces to: FedAvg on the same cohorts at buffer = concurrency = cohort, equal latencies and equal client sizes.
Cost: as many past models as the largest staleness + 1 in the simulator; one buffer on a real server.

>>> Options(concurrency=20, buffer=5).clients_needed()
20
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from models_core.federated._options import AlgorithmOptions
from models_core.spec import field

if TYPE_CHECKING:
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
    divisor: Literal["buffer", "weights"] = field(
        "buffer",
        title="Divide by",
        help="The number of reports, or the sum of their weights.",
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

    def clients_needed(self) -> int:
        """All that are at work at once."""
        return self.concurrency


def plan(options: Options, fleet: Fleet, *, steps: int) -> Schedule:
    """The schedule of `steps` server steps; reports of a step are ordered by arrival, ties by the order of starting."""
    from models_core.federated.simulation.clock import EventClock
    from models_core.federated.simulation.schedule import Ledger

    ledger = Ledger(len(fleet.sizes))
    clock = EventClock(fleet, ledger, options.concurrency)
    version = 0
    buffer: list[Report] = []
    while version < steps:
        clock.fill(version)
        for report in clock.arrivals():
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
    weights = [(1.0 + tau) ** -options.staleness_exponent for tau in staleness]
    divisor = float(options.buffer) if options.divisor == "buffer" else sum(weights)
    return [weight / divisor for weight in weights]
