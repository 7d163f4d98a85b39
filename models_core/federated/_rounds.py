"""Synchronous rounds: options and schedule that every algorithm with rounds shares.

Source of over-selection and report goals: Bonawitz et al., "Towards federated learning at scale", SysML 2019.

    ask m' = ceil(cohort (1 + over_selection)) clients, close the round at the `cohort`-th report or at the deadline
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models_core.errors import SpecInvalid
from models_core.federated._options import AlgorithmOptions
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.schedule import Fleet, Ledger, Report, Schedule

# So many rounds in a row without a single report cannot be patience any more.
_EMPTY_ROUNDS = 1000


class RoundOptions(AlgorithmOptions):
    """Options of every algorithm with rounds."""

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
    deadline_s: float = field(
        0.0,
        title="Deadline",
        help="A round closes then at the latest; 0: it waits for the cohort.",
        unit="s",
        ge=0,
        format="seconds",
        section="Algorithm",
        advanced=True,
    )
    sampling: Literal["uniform", "weighted", "poisson", "epoch"] = field(
        "uniform",
        title="Sampling",
        help="Without replacement; by examples; each client by chance (for privacy); each once an epoch.",
        section="Algorithm",
        advanced=True,
    )
    weighting: Literal["examples", "equal"] = field(
        "examples", title="Weights", help="By examples, or all equal.", section="Algorithm", advanced=True
    )
    example_cap: int = field(
        0,
        title="Cap of examples",
        help="A client weighs no more than one with so many; 0: no cap.",
        unit="examples",
        ge=0,
        section="Algorithm",
        advanced=True,
    )
    server_lr: float = field(
        1.0, title="Server rate", help="Factor on the averaged change.", gt=0, le=100, format="log", section="Algorithm"
    )

    def clients_needed(self) -> int:
        """m' of the module's docstring; the small slack keeps 10 x 1.3 at 13 in floating point."""
        return math.ceil(self.cohort * (1 + self.over_selection) - 1e-9)

    @property
    def synchronous(self) -> bool:
        """All reports of a round start from the present model."""
        return True

    def weights(self, sizes: list[int]) -> list[float]:
        """Weights that sum to one, by examples or equal."""
        if not sizes:
            return []
        if self.weighting == "equal":
            return [1 / len(sizes)] * len(sizes)
        capped = [min(size, self.example_cap) if self.example_cap else size for size in sizes]
        return [size / sum(capped) for size in capped]


@dataclass(frozen=True, slots=True)
class Round:
    """One round: used reports by arrival, the rest (late or beyond the deadline), and when it closes."""

    step: int
    used: list[Report]
    rest: list[Report]
    begin_s: float
    close_s: float


def rounds(
    options: RoundOptions, fleet: Fleet, ledger: Ledger, *, steps: int, until_s: float, late_work: bool = False
) -> Iterator[Round]:
    """Rounds with at least one report, until `steps` of them or `until_s` of simulated time; the ledger counts starts.

    late_work: whether clients that miss the round go on working (they cannot be asked meanwhile) or stop at once.
    Reports are ordered by arrival, ties by the order of asking. Rounds without any report only take their time.
    """
    clock_s, number, empty = 0.0, 0, 0
    # Clients still at work on an earlier round, with the time at which they become free.
    busy: dict[int, float] = {}
    done = 0
    while done < steps:
        busy = {client: free_s for client, free_s in busy.items() if free_s > clock_s}
        chosen = fleet.cohort(number, options.clients_needed(), clock_s, busy=busy, sampling=options.sampling)
        number += 1
        if not chosen and options.sampling == "poisson" and not busy and fleet.reachable_s is None:
            # Chance drew nobody. The step counts all the same: a private sum is released with its noise alone.
            yield Round(done, [], [], clock_s, clock_s)
            done += 1
            continue
        if not chosen:
            clock_s = _later(fleet, busy, clock_s)
            empty += 1
            _refuse_silence(empty)
            continue
        asked = [fleet.start(client, ledger, done, clock_s) for client in chosen]
        heard = sorted((report for report in asked if not report.lost), key=lambda report: report.arrival_s)
        goal = min(options.cohort, len(heard))
        deadline_s = clock_s + options.deadline_s if options.deadline_s else math.inf
        if options.sampling == "poisson":
            goal = len(heard)
        close_s = min(heard[goal - 1].arrival_s if goal else math.inf, deadline_s)
        if close_s == math.inf:
            close_s = max(report.arrival_s for report in asked)
        if close_s > until_s:
            return
        used = [report for report in heard[:goal] if report.arrival_s <= close_s]
        rest = [report for report in heard if report not in used]
        for report in asked:
            if report.lost:
                ledger.lose(report, min(report.duration_s, close_s - clock_s))
        ledger.received += len(used)
        if late_work:
            busy |= {report.client: report.arrival_s for report in rest}
        else:
            ledger.late += len(rest)
            ledger.wasted_s += (close_s - clock_s) * len(rest)
        begin_s, clock_s = clock_s, close_s
        if not used:
            empty += 1
            _refuse_silence(empty)
            if late_work:
                ledger.late += len(rest)
                ledger.wasted_s += sum(report.duration_s for report in rest)
            continue
        empty = 0
        yield Round(done, used, rest, begin_s, close_s)
        done += 1


def plan_rounds(options: RoundOptions, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """The schedule of rounds in which late reports are thrown away."""
    from models_core.federated.simulation.schedule import Ledger

    ledger = Ledger(len(fleet.sizes))
    for this in rounds(options, fleet, ledger, steps=steps, until_s=until_s):
        weights = options.weights([fleet.sizes[report.client] for report in this.used])
        ledger.step(this.used, weights, this.close_s)
    return ledger.schedule()


class LateReports:
    """Reports on their way past the end of their round, handed out in order of arrival."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Report]] = []
        self._pushed = 0

    def push(self, reports: list[Report]) -> None:
        """Wait for these as well."""
        for report in reports:
            heapq.heappush(self._heap, (report.arrival_s, self._pushed, report))
            self._pushed += 1

    def until(self, clock_s: float) -> list[Report]:
        """All that have arrived by then and were not handed out before."""
        arrived = []
        while self._heap and self._heap[0][0] <= clock_s:
            arrived.append(heapq.heappop(self._heap)[2])
        return arrived


def _later(fleet: Fleet, busy: dict[int, float], clock_s: float) -> float:
    """When somebody can be asked again."""
    free_s = min(busy.values(), default=math.inf)
    open_s = fleet.reachable_s(clock_s) if fleet.reachable_s else math.inf
    first_s = min(free_s, open_s)
    return max(first_s, clock_s) if first_s < math.inf else clock_s


def _refuse_silence(empty: int) -> None:
    if empty > _EMPTY_ROUNDS:
        raise SpecInvalid(
            f"{_EMPTY_ROUNDS} rounds in a row passed without a report.",
            fields={"algorithm.deadline_s": "No client reports before it, or nobody can be reached."},
        )
