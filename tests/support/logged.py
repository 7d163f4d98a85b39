"""Runs that a script logs, written through the services, for tests about what was stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillroom.core.tenancy import tenant_tx
from stillroom.runs.models import Project, Run
from stillroom.runs.services.control import external_run_end
from stillroom.runs.services.submit import external_run_start
from stillroom.telemetry.batches import parse_batch
from stillroom.telemetry.codec import Points
from stillroom.telemetry.services.ingest import ingest
from support.cast import PROJECT, Person


@dataclass
class Logged:
    """An external run and how to write into it."""

    person: Person
    id: str
    seq: int = 0

    def write(self, key: str, step: Sequence[int], value: Any, time: Any = None) -> None:
        """One batch of one series."""
        self.batch({key: (step, value, time)})

    def batch(self, series: dict[str, Any], logs: Sequence[dict[str, Any]] = ()) -> None:
        """One batch of several series: (step, value, time or None for 1.7e9 + step)."""
        self.seq += 1
        entries = []
        for key, (step, value, time) in series.items():
            steps = np.asarray(step, "<i8")
            times = 1.7e9 + steps if time is None else np.asarray(time)
            columns = {"step": steps.tobytes(), "value": np.asarray(value, "<f8").tobytes()}
            entries.append({"key": key, **columns, "time": times.astype("<f8").tobytes()})
        payload = {"epoch": 1, "seq": self.seq, "series": entries, "logs": list(logs)}
        with tenant_tx(self.person.tenant):
            ingest(run_id=self.id, batch=parse_batch(payload, max_points=10_000_000))

    def end(self) -> None:
        """The run has SUCCEEDED."""
        from stillroom.runs.lifecycle import State

        with tenant_tx(self.person.tenant):
            external_run_end(run=Run.objects.get(id=self.id), state=State.SUCCEEDED, actor="test")


def logged(person: Person, *, project: str = PROJECT, **more: Any) -> Logged:
    """A new external run of the person."""
    member = person.member()
    options = {"name": "", "tags": {}, "notes": "", "spec": {}, **more}
    with tenant_tx(person.tenant):
        place = Project.objects.get(slug=project)
        return Logged(person, external_run_start(member=member, project=place, lease_s=3600, **options).id)


def stored(run: Logged, key: str) -> Points:
    """Every point of a series as a reader of all points sees it."""
    from stillroom.telemetry.selectors.visible import visible_points

    with tenant_tx(run.person.tenant):
        return visible_points(run.id, [key])[key]
