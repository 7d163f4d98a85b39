"""What a run reported, from its events."""

from __future__ import annotations

from collections.abc import Iterable

from models_core.events import Artifact, Event, Metric


def numbers(events: Iterable[Event]) -> dict[tuple[int, str], float]:
    """Every value by step and metric, but for those of speed."""
    return {
        (event.step, key): value
        for event in events
        if isinstance(event, Metric)
        for key, value in event.values.items()
        if not key.startswith("perf/")
    }


def files(events: Iterable[Event]) -> dict[str, bytes]:
    """Its artifacts by name."""
    return {event.name: event.content for event in events if isinstance(event, Artifact)}
