"""What an algorithm decides before anything is trained: who reports to which server step, and when.

Latencies do not depend on the models, so that the whole schedule is computed first, on the host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int32, Int64

from models_core.errors import SpecInvalid
from models_core.federated.simulation.latency import Draw

Sampling = Literal["uniform", "weighted", "poisson", "epoch"]
_COHORT_STREAM = 3


@dataclass(frozen=True, slots=True)
class Fleet:
    """The clients: examples of each, their latency, the seed of their cohorts, and when they can be reached.

    latency(client, participation): seconds. available(client, now_s): whether it can be asked then. reachable_s(now_s):
    the first time from then on at which some client can be. lost(client, participation): whether it never reports.
    """

    sizes: Sequence[int]
    latency: Draw
    seed: int
    available: Callable[[int, float], bool] | None = None
    reachable_s: Callable[[float], float] | None = None
    lost: Callable[[int, int], bool] | None = None

    def order(self, cohort: int) -> Int64[np.ndarray, " clients"]:
        """In which order clients are asked for cohort number `cohort`; the same for every algorithm."""
        return self._stream(cohort).permutation(len(self.sizes))

    def cohort(
        self, number: int, count: int, now_s: float, *, busy: Collection[int] = (), sampling: Sampling = "uniform"
    ) -> list[int]:
        """The clients asked for cohort `number`: idle, reachable, and at most `count` of them except for "poisson".

        uniform: without replacement. weighted: without replacement, with chances proportional to examples. poisson:
        every client by itself with chance count / clients. epoch: each client once before any a second time.
        """
        clients = len(self.sizes)
        if sampling == "poisson":
            draws = self._stream(number).uniform(size=clients)
            order = np.flatnonzero(draws < count / clients).tolist()
            count = clients
        elif sampling == "weighted":
            weights = np.asarray(self.sizes, np.float64)
            # Exponential races: the first to finish is drawn in proportion to its rate.
            order = np.argsort(self._stream(number).exponential(size=clients) / weights, kind="stable").tolist()
        elif sampling == "epoch":
            rounds_an_epoch = max(clients // count, 1)
            epoch, place = divmod(number, rounds_an_epoch)
            order = self.order(epoch)[place * count : (place + 1) * count].tolist()
        else:
            order = self.order(number).tolist()
        free = (client for client in order if client not in busy and self.is_available(client, now_s))
        return [client for _, client in zip(range(count), free, strict=False)]

    def is_available(self, client: int, now_s: float) -> bool:
        """Whether the client can be asked now."""
        return self.available is None or self.available(client, now_s)

    def start(self, client: int, ledger: Ledger, version: int, now_s: float) -> Report:
        """Book a task and foresee its report."""
        participation = ledger.start(client)
        duration_s = self.latency(client, participation)
        lost = self.lost is not None and self.lost(client, participation)
        return Report(client, participation, version, now_s + duration_s, duration_s, lost)

    def _stream(self, cohort: int) -> np.random.Generator:
        stream = np.random.Philox(key=[self.seed, _COHORT_STREAM], counter=[0, 0, 0, cohort])
        return np.random.Generator(stream)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Reports of every server step, in the order in which they are added up, and the books at its end.

    client: who. version: number of the server step whose model it started from (0 is the initial model). participation:
    how often the client had started before. weight: factor of its delta in the server's sum, 0 where a place is empty.
    late_weight: its factor in the algorithm's second sum (FeAST: of late reports; FARe-DUST: of all). teacher: number
    of the teacher it is regularised towards, -1 for none. clock_s: simulated time of the step. used, started, late,
    too_old, lost, in_flight: client tasks so far; started = used + late + too_old + lost + in_flight. received: reports
    that reached the server so far, used or not. wasted_s: client seconds so far whose result was not used. teachers:
    models sent out beside the model so far. fresh, stale: reports in the first and in the second sum of the step.
    """

    client: Int32[np.ndarray, "steps reports"]
    version: Int32[np.ndarray, "steps reports"]
    participation: Int32[np.ndarray, "steps reports"]
    weight: Float64[np.ndarray, "steps reports"]
    late_weight: Float64[np.ndarray, "steps reports"]
    teacher: Int32[np.ndarray, "steps reports"]
    clock_s: Float64[np.ndarray, " steps"]
    used: Int64[np.ndarray, " steps"]
    started: Int64[np.ndarray, " steps"]
    late: Int64[np.ndarray, " steps"]
    too_old: Int64[np.ndarray, " steps"]
    lost: Int64[np.ndarray, " steps"]
    in_flight: Int64[np.ndarray, " steps"]
    received: Int64[np.ndarray, " steps"]
    teachers: Int64[np.ndarray, " steps"]
    wasted_s: Float64[np.ndarray, " steps"]
    fresh: Int32[np.ndarray, " steps"]
    stale: Int32[np.ndarray, " steps"]

    @property
    def steps(self) -> int:
        """Server steps."""
        return len(self.clock_s)

    @property
    def staleness(self) -> Int32[np.ndarray, "steps reports"]:
        """Server steps between a report's start and its use."""
        steps = np.arange(len(self.client), dtype=np.int32)
        staleness: Int32[np.ndarray, "steps reports"] = steps[:, None] - self.version
        return staleness

    @property
    def counted(self) -> np.ndarray:
        """Which places hold a report that counts, [steps, reports]."""
        counted: np.ndarray = (self.weight != 0) | (self.late_weight != 0)
        return counted

    @property
    def history(self) -> int:
        """How many models must be kept: the largest staleness + 1."""
        return int(self.staleness.max()) + 1

    @property
    def teacher_age(self) -> int:
        """Steps between the newest possible teacher and the oldest one in use; 0 when none is."""
        steps = np.arange(len(self.client), dtype=np.int32)[:, None]
        return int(np.where(self.teacher >= 0, steps - self.teacher, 0).max())

    @property
    def fingerprint(self) -> str:
        """sha256 of everything: a resumed run must meet the schedule that it left."""
        digest = hashlib.sha256()
        for column in fields(self):
            digest.update(np.ascontiguousarray(getattr(self, column.name)).tobytes())
        return digest.hexdigest()

    def reweighted(self, value: float) -> Schedule:
        """The same reports, each with weight `value` in the server's sum (user-level privacy: a fixed denominator)."""
        return replace(self, weight=np.where(self.weight != 0, value, 0.0))


@dataclass(frozen=True, slots=True)
class Report:
    """One client's finished task, or, when `lost`, the moment at which it could no longer be expected."""

    client: int
    participation: int
    version: int
    arrival_s: float
    duration_s: float
    lost: bool = False


@dataclass(slots=True)
class _Row:
    reports: list[Report]
    weights: list[float]
    late_weights: list[float]
    teachers: list[int]
    clock_s: float
    books: tuple[int, ...]
    wasted_s: float
    sums: tuple[int, int]


class Ledger:
    """Books kept while a schedule is made."""

    def __init__(self, clients: int) -> None:
        self.started = self.late = self.too_old = self.lost = self.received = self.used = self.teachers = 0
        self.wasted_s = 0.0
        self._participations = [0] * clients
        self._rows: list[_Row] = []

    @property
    def steps(self) -> int:
        """Server steps booked so far."""
        return len(self._rows)

    def start(self, client: int) -> int:
        """Book a task; returns how often the client had started before."""
        self.started += 1
        self._participations[client] += 1
        return self._participations[client] - 1

    def lose(self, report: Report, seconds: float) -> None:
        """Book a task that will never report, after so many seconds of work."""
        self.lost += 1
        self.wasted_s += seconds

    def step(
        self,
        reports: Sequence[Report],
        weights: Sequence[float],
        clock_s: float,
        *,
        late_weights: Sequence[float] = (),
        teachers: Sequence[int] = (),
        used: int | None = None,
    ) -> int:
        """Book a server step that uses `reports`; returns its number. used: tasks consumed by it, all when None."""
        self.used += len(reports) if used is None else used
        in_flight = self.started - self.used - self.late - self.too_old - self.lost
        books = (self.used, self.started, self.late, self.too_old, self.lost, in_flight, self.received, self.teachers)
        zeros = [0.0] * len(reports)
        late = list(late_weights) or zeros
        sums = (sum(weight != 0 for weight in weights), sum(weight != 0 for weight in late))
        self._rows.append(
            _Row(
                list(reports),
                list(weights),
                late,
                list(teachers) or [-1] * len(reports),
                clock_s,
                books,
                self.wasted_s,
                sums,
            )
        )
        return len(self._rows) - 1

    def weigh_late(self, step: int, late_weights: Sequence[float]) -> None:
        """Settle afterwards which reports of a step join the second sum."""
        self._rows[step].late_weights = list(late_weights)

    def schedule(self) -> Schedule:
        """All steps booked so far; raises SpecInvalid when there is none."""
        if not self._rows:
            raise SpecInvalid(
                "The simulated time ends before the first server step.", fields={"time_budget_s": "Too short."}
            )
        width = max(max(len(row.reports) for row in self._rows), 1)

        def columns(values: list[list[Any]], empty: list[Any], kind: Any) -> np.ndarray:
            return np.array(
                [row + [fill] * (width - len(row)) for row, fill in zip(values, empty, strict=True)], kind
            ).reshape(len(values), width)

        rows = self._rows
        zeros, numbers = [0] * len(rows), list(range(len(rows)))
        books = [np.array(column, np.int64) for column in zip(*(row.books for row in rows), strict=True)]
        return Schedule(
            client=columns([[r.client for r in row.reports] for row in rows], zeros, np.int32),
            version=columns([[r.version for r in row.reports] for row in rows], numbers, np.int32),
            participation=columns([[r.participation for r in row.reports] for row in rows], zeros, np.int32),
            weight=columns([row.weights for row in rows], zeros, np.float64),
            late_weight=columns([row.late_weights for row in rows], zeros, np.float64),
            teacher=columns([row.teachers for row in rows], [-1] * len(rows), np.int32),
            clock_s=np.array([row.clock_s for row in rows], np.float64),
            used=books[0],
            started=books[1],
            late=books[2],
            too_old=books[3],
            lost=books[4],
            in_flight=books[5],
            received=books[6],
            teachers=books[7],
            wasted_s=np.array([row.wasted_s for row in rows], np.float64),
            fresh=np.array([row.sums[0] for row in rows], np.int32),
            stale=np.array([row.sums[1] for row in rows], np.int32),
        )
