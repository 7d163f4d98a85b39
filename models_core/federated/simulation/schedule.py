"""What an algorithm decides before anything is trained: who reports to which server step, and when.

Latencies do not depend on the models, so that the whole schedule is computed first, on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64

from models_core.federated.simulation.latency import Draw

_COHORT_STREAM = 3


@dataclass(frozen=True, slots=True)
class Fleet:
    """The clients: examples of each, their latency, and the seed of their cohorts."""

    sizes: Sequence[int]
    latency: Draw
    seed: int

    def order(self, cohort: int) -> Int64[np.ndarray, " clients"]:
        """In which order clients are asked for cohort number `cohort`; the same for every algorithm."""
        stream = np.random.Philox(key=[self.seed, _COHORT_STREAM], counter=[0, 0, 0, cohort])
        return np.random.Generator(stream).permutation(len(self.sizes))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Reports of every server step, in the order in which they are added up, and the books at its end.

    client: who. version: number of the server step whose model it started from (0 is the initial model). participation:
    how often the client had started before. weight: factor of its delta in the sum. clock_s: simulated time of the
    step. started, late, too_old, in_flight: client tasks so far; started = used + late + too_old + in_flight, used =
    (step + 1) x reports. received: reports that reached the server so far, used or not. wasted_s: client seconds so far
    whose result was not used.
    """

    client: Int32[np.ndarray, "steps reports"]
    version: Int32[np.ndarray, "steps reports"]
    participation: Int32[np.ndarray, "steps reports"]
    weight: Float64[np.ndarray, "steps reports"]
    clock_s: Float64[np.ndarray, " steps"]
    started: Int64[np.ndarray, " steps"]
    late: Int64[np.ndarray, " steps"]
    too_old: Int64[np.ndarray, " steps"]
    in_flight: Int64[np.ndarray, " steps"]
    received: Int64[np.ndarray, " steps"]
    wasted_s: Float64[np.ndarray, " steps"]

    @property
    def staleness(self) -> Int32[np.ndarray, "steps reports"]:
        """Server steps between a report's start and its use."""
        steps = np.arange(len(self.client), dtype=np.int32)
        staleness: Int32[np.ndarray, "steps reports"] = steps[:, None] - self.version
        return staleness

    @property
    def history(self) -> int:
        """How many models must be kept: the largest staleness + 1."""
        return int(self.staleness.max()) + 1


@dataclass(frozen=True, slots=True)
class Report:
    """One client's finished task."""

    client: int
    participation: int
    version: int
    arrival_s: float
    duration_s: float


class Ledger:
    """Books kept while a schedule is made."""

    def __init__(self, clients: int) -> None:
        self.started = self.late = self.too_old = self.received = 0
        self.wasted_s = 0.0
        self._participations = [0] * clients
        self._used = 0
        self._rows: list[tuple[list[Report], list[float], float, tuple[int, int, int, int, int, float]]] = []

    def start(self, client: int) -> int:
        """Book a task; returns how often the client had started before."""
        self.started += 1
        self._participations[client] += 1
        return self._participations[client] - 1

    def step(self, reports: Sequence[Report], weights: Sequence[float], clock_s: float) -> None:
        """Book a server step that uses `reports`."""
        self._used += len(reports)
        in_flight = self.started - self._used - self.late - self.too_old
        books = (self.started, self.late, self.too_old, in_flight, self.received, self.wasted_s)
        self._rows.append((list(reports), list(weights), clock_s, books))

    def schedule(self) -> Schedule:
        """All steps booked so far."""
        reports = [row[0] for row in self._rows]
        books = list(zip(*(row[3] for row in self._rows), strict=True))
        counts = [np.array(column, np.int64) for column in books[:5]]
        return Schedule(
            client=np.array([[report.client for report in row] for row in reports], np.int32),
            version=np.array([[report.version for report in row] for row in reports], np.int32),
            participation=np.array([[report.participation for report in row] for row in reports], np.int32),
            weight=np.array([row[1] for row in self._rows], np.float64),
            clock_s=np.array([row[2] for row in self._rows], np.float64),
            started=counts[0],
            late=counts[1],
            too_old=counts[2],
            in_flight=counts[3],
            received=counts[4],
            wasted_s=np.array(books[5], np.float64),
        )
