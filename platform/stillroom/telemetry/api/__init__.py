"""Doors to ingest, charts, tables, logs, artifacts, trash, export and import."""

from stillroom.telemetry.api import artifacts, charts, exports, ingest, keeping, previews, table, uploads

doors = (
    ingest.door,
    charts.door,
    table.door,
    artifacts.door,
    uploads.door,
    previews.door,
    keeping.door,
    exports.door,
)
