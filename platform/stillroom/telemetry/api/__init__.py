"""Doors to ingest, charts, logs and artifacts."""

from stillroom.telemetry.api import artifacts, charts, ingest

doors = (ingest.door, charts.door, artifacts.door)
