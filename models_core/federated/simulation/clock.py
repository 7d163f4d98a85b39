"""The clock of asynchronous simulation: a heap of reports on their way, by arrival, ties by order of starting."""

from __future__ import annotations

import heapq
import math

from models_core.errors import SpecInvalid
from models_core.federated.simulation.schedule import Fleet, Ledger, Report


class EventClock:
    """Keeps a fixed number of clients at work and hands out their reports as they arrive.

    Start number j belongs to cohort j // concurrency; it goes to the first client of that cohort's order who is idle
    and reachable and has not been started for this cohort yet (if all such are busy, to the first idle one). With equal
    latencies the clients at work are therefore exactly the cohorts of the synchronous algorithms.
    """

    def __init__(self, fleet: Fleet, ledger: Ledger, concurrency: int) -> None:
        self.now_s = 0.0
        self._fleet, self._ledger, self._concurrency = fleet, ledger, concurrency
        self._heap: list[tuple[float, int, Report]] = []
        self._busy: set[int] = set()
        self._starts = 0
        self._cohort = -1
        self._order: list[int] = []
        self._place = 0
        self._asked: set[int] = set()

    def fill(self, version: int) -> None:
        """Start clients on model `version` until `concurrency` are at work, or no further one can be reached."""
        while len(self._busy) < self._concurrency:
            client = self._next_client()
            if client is None:
                if self._busy:
                    return
                later_s = self._fleet.reachable_s(self.now_s) if self._fleet.reachable_s else math.inf
                if not self.now_s < later_s < math.inf:
                    raise SpecInvalid("No client can be reached any more.", fields={"presence": "Nobody is left."})
                self.now_s = later_s
                continue
            report = self._fleet.start(client, self._ledger, version, self.now_s)
            heapq.heappush(self._heap, (report.arrival_s, self._starts, report))
            self._busy.add(client)
            self._starts += 1

    def arrivals(self) -> list[Report]:
        """Advance to the next arrival; all reports that arrive at that instant, in order of starting.

        A lost report frees its client at the time at which it would have arrived, and is not handed out.
        """
        self.now_s = self._heap[0][0]
        reports = []
        while self._heap and self._heap[0][0] == self.now_s:
            report = heapq.heappop(self._heap)[2]
            self._busy.remove(report.client)
            if report.lost:
                self._ledger.lose(report, report.duration_s)
                continue
            self._ledger.received += 1
            reports.append(report)
        return reports

    def _next_client(self) -> int | None:
        cohort = self._starts // self._concurrency
        if cohort != self._cohort:
            self._cohort, self._order = cohort, self._fleet.order(cohort).tolist()
            self._place, self._asked = 0, set()
        # Clients before `_place` were asked in this cohort: a fleet of many thousands is not walked for every start.
        while self._place < len(self._order) and self._order[self._place] in self._asked:
            self._place += 1
        client = self._first_free(self._place, skip=self._asked)
        if client is None:
            client = self._first_free(0, skip=set())
        if client is not None:
            self._asked.add(client)
        return client

    def _first_free(self, start: int, skip: set[int]) -> int | None:
        for place in range(start, len(self._order)):
            client = self._order[place]
            if client not in self._busy and client not in skip and self._fleet.is_available(client, self.now_s):
                return client
        return None
