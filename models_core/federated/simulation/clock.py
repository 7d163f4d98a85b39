"""The clock of asynchronous simulation: a heap of reports on their way, by arrival, ties by order of starting."""

from __future__ import annotations

import heapq

from models_core.federated.simulation.schedule import Fleet, Ledger, Report


class EventClock:
    """Keeps a fixed number of clients at work and hands out their reports as they arrive.

    Start number j belongs to cohort j // concurrency; it goes to the first client of that cohort's order who is idle
    and has not been started for this cohort yet (if all such are busy, to the first idle one). With equal latencies the
    clients at work are therefore exactly the cohorts of the synchronous algorithms.
    """

    def __init__(self, fleet: Fleet, ledger: Ledger, concurrency: int) -> None:
        self.now_s = 0.0
        self._fleet, self._ledger, self._concurrency = fleet, ledger, concurrency
        self._heap: list[tuple[float, int, Report]] = []
        self._busy: set[int] = set()
        self._starts = 0
        self._order: list[int] = []
        self._asked: set[int] = set()

    def fill(self, version: int) -> None:
        """Start clients on model `version` until `concurrency` are at work."""
        while len(self._busy) < self._concurrency:
            client = self._next_client()
            participation = self._ledger.start(client)
            duration_s = self._fleet.latency(client, participation)
            report = Report(client, participation, version, self.now_s + duration_s, duration_s)
            heapq.heappush(self._heap, (report.arrival_s, self._starts, report))
            self._busy.add(client)
            self._starts += 1

    def arrivals(self) -> list[Report]:
        """Advance to the next arrival; all reports that arrive at that instant, in order of starting."""
        self.now_s = self._heap[0][0]
        reports = []
        while self._heap and self._heap[0][0] == self.now_s:
            report = heapq.heappop(self._heap)[2]
            self._busy.remove(report.client)
            self._ledger.received += 1
            reports.append(report)
        return reports

    def _next_client(self) -> int:
        cohort, position = divmod(self._starts, self._concurrency)
        if position == 0:
            self._order = self._fleet.order(cohort).tolist()
            self._asked = set()
        idle = [client for client in self._order if client not in self._busy]
        client = next((client for client in idle if client not in self._asked), idle[0])
        self._asked.add(client)
        return client
