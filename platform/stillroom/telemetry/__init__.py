"""Metric series, logs and artifacts: one ingest service, and selectors that never lose an extreme."""
