"""Metric points as compressed columns against one row a point: bytes on disk, time to write, time to chart.

Both sides are the same PostgreSQL in the same run. The baseline is the plain table that trackers use (run, key, step,
value, time; primary key over the first three), written by COPY in the same batches and charted by reading the rows.
Client and server share the work, so times are wall clock: medians where they repeat, to be read as ratios only.
"""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psycopg

ROOT = Path(__file__).resolve().parents[1]
POINTS, BATCH, REPEATS, MAX_POINTS = 200_000, 1_000, 5, 1_000


def main() -> None:
    """Start servers, write the same points both ways, print the ratios."""
    from stillroom.local.services import start_services

    with start_services() as services, TemporaryDirectory() as home:
        os.environ.update(
            DATABASE_URL=services.database_url,
            REDIS_URL=services.redis_url,
            STILLROOM_HOME=home,
            STILLROOM_SECRET_KEY=secrets.token_urlsafe(32),
            STILLROOM_LOG_LEVEL="error",
            DJANGO_SETTINGS_MODULE="stillroom.config.settings",
        )
        provision = [sys.executable, "manage.py", "provision", "--verbosity", "0"]
        subprocess.run(provision, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        import django

        django.setup()
        race(services.database_url)


def race(url: str) -> None:
    """Write and read the same float32 losses in both layouts."""
    from stillroom.core.tenancy import tenant_tx
    from stillroom.runs.selectors import runs
    from stillroom.telemetry.batches import parse_batch
    from stillroom.telemetry.selectors.charts import ChartQuery, chart, m4
    from stillroom.telemetry.services.ingest import ingest

    tenant, run = external_run()
    rng = np.random.default_rng(0)
    steps = np.arange(POINTS)
    values = (2.0 * np.exp(-steps / POINTS) + 0.1 * rng.standard_normal(POINTS)).astype(np.float32).astype(np.float64)
    times = 1.7e9 + 0.05 * steps
    batches = [slice(start, start + BATCH) for start in range(0, POINTS, BATCH)]

    started = time.perf_counter()
    for seq, part in enumerate(batches, 1):
        columns = {"step": steps[part].tolist(), "value": values[part].tolist(), "time": times[part].tolist()}
        payload = {"epoch": 1, "seq": seq, "series": [{"key": "loss", **columns}]}
        with tenant_tx(tenant):
            ingest(run_id=run, batch=parse_batch(payload, max_points=BATCH))
    columns_s = time.perf_counter() - started

    with psycopg.connect(url, autocommit=True) as rows:
        rows.execute(
            "create table point "
            "(run text, key text, step bigint, value float8, time float8, primary key (run, key, step))"
        )
        started = time.perf_counter()
        for part in batches:
            with rows.cursor().copy("copy point from stdin") as copy:
                for step, value, at in zip(steps[part], values[part], times[part], strict=True):
                    copy.write_row((run, "loss", int(step), float(value), float(at)))
        rows_s = time.perf_counter() - started
        rows.execute("vacuum analyze point")
        rows.execute("vacuum analyze series_chunk")
        bytes_rows = size(rows, "point") / POINTS
        bytes_columns = size(rows, "series_chunk") / POINTS

        def from_rows() -> None:
            found = rows.execute("select step, value from point where run = %s and key = 'loss' order by step", [run])
            table = np.array(found.fetchall(), dtype=np.float64)
            m4(table[:, 0], table[:, 1], MAX_POINTS // 4)

        def from_columns() -> None:
            with tenant_tx(tenant):
                chart(ChartQuery([run], ["loss"], max_points=MAX_POINTS), list(runs().filter(id=run)))

        read_rows, read_columns = median(from_rows), median(from_columns)
    print(f"{POINTS:,} points of one series, float32 values, batches of {BATCH:,}")
    print(
        f"bytes a point: columns {bytes_columns:.1f}, rows {bytes_rows:.1f}: {bytes_rows / bytes_columns:.1f} x smaller"
    )
    print(f"write, fenced and summarised, against COPY of rows: {rows_s / columns_s:.2f} x as fast")
    speed, took_ms = read_rows / read_columns, read_columns * 1e3
    print(f"chart at {MAX_POINTS:,} points, exact extremes: {speed:.1f} x as fast ({took_ms:.0f} ms)")


def external_run() -> tuple[str, str]:
    """An organisation with one run that a script logs; its tenant and id."""
    from stillroom.core.tenancy import identity_tx, tenant_tx
    from stillroom.runs.services.submit import external_run_start, project_create
    from stillroom.tenants.callers import members_of
    from stillroom.tenants.services import organisation_create

    organisation, user, _ = organisation_create(slug="bench", name="", owner_email="b@example.org", actor="benchmark")
    with identity_tx(user_id=user.id):
        (member,) = members_of(user)
    with tenant_tx(organisation.id):
        project = project_create(member=member, slug="bench", name="")
        run = external_run_start(member=member, project=project, name="", tags={}, notes="", lease_s=3600, spec={})
    return organisation.id, run.id


def size(connection: psycopg.Connection[Any], table: str) -> int:
    """Bytes of a table with its indexes and out-of-line values."""
    row = connection.execute("select pg_total_relation_size(%s)", [table]).fetchone()
    assert row is not None
    return int(row[0])


def median(work: Callable[[], None]) -> float:
    """Median seconds of several runs, after one that warms up."""
    work()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
