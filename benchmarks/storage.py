"""Metric points as compressed columns against one row a point: bytes on disk, time to write, to chart and to search.

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
POINTS, BATCH, REPEATS, MAX_POINTS = 1_000_000, 1_000, 7, 1_000
TRICKLE = 3_000
RUNS, KEYS, FOUND = 10_000, 5, 100


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
    from stillroom.telemetry.services.fold import run_fold
    from stillroom.telemetry.services.ingest import ingest

    tenant, run, trickle = external_runs()
    rng = np.random.default_rng(0)
    steps = np.arange(POINTS)
    values = (2.0 * np.exp(-steps / POINTS) + 0.1 * rng.standard_normal(POINTS)).astype(np.float32).astype(np.float64)
    times = 1.7e9 + 0.05 * steps
    batches = [slice(start, start + BATCH) for start in range(0, POINTS, BATCH)]

    def write(target: str, seq: int, part: slice) -> None:
        columns = {"step": steps[part].tolist(), "value": values[part].tolist(), "time": times[part].tolist()}
        payload = {"epoch": 1, "seq": seq, "series": [{"key": "loss", **columns}]}
        with tenant_tx(tenant):
            ingest(run_id=target, batch=parse_batch(payload, max_points=BATCH))

    started = time.perf_counter()
    for seq, part in enumerate(batches, 1):
        write(run, seq, part)
    columns_s = time.perf_counter() - started

    def from_columns(limits: tuple[float, float] | None = None) -> None:
        with tenant_tx(tenant):
            query = ChartQuery([run], ["loss"], max_points=MAX_POINTS, range=limits)
            chart(query, list(runs().filter(id=run)))

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
        bytes_rows = size(rows, "point") / POINTS

        def from_rows(limits: tuple[float, float] = (0, POINTS)) -> None:
            sql = (
                "select step, value from point where run = %s and key = 'loss' and step between %s and %s order by step"
            )
            table = np.array(rows.execute(sql, [run, *limits]).fetchall(), dtype=np.float64)
            m4(table[:, 0], table[:, 1], MAX_POINTS // 4)

        before = median(from_columns)
        run_fold(tenant_id=tenant, run_id=run)
        rows.execute("vacuum full series_chunk")
        bytes_columns = size(rows, "series_chunk") / POINTS
        wide_rows, wide = median(from_rows), median(from_columns)
        zoom = (0.3 * POINTS, 0.3 * POINTS + 20_000)
        near_rows, near = median(lambda: from_rows(zoom)), median(lambda: from_columns(zoom))

        held = size(rows, "series_chunk")
        for seq in range(1, TRICKLE + 1):
            write(trickle, seq, slice(seq - 1, seq))
        single = (size(rows, "series_chunk") - held) / TRICKLE
        with tenant_tx(tenant):
            end(trickle)
        run_fold(tenant_id=tenant, run_id=trickle)
        rows.execute("vacuum full series_chunk")
        folded = (size(rows, "series_chunk") - held) / TRICKLE
        searched, searched_rows = search(tenant, rows)
    print(f"{POINTS:,} points of one series, float32 values, batches of {BATCH:,}")
    print(
        f"bytes a point: columns {bytes_columns:.1f}, rows {bytes_rows:.1f}: {bytes_rows / bytes_columns:.1f} x smaller"
    )
    print(f"bytes a point sent one by one: {single:.0f}, folded {folded:.1f}")
    print(f"write, fenced and summarised, against COPY of rows: {rows_s / columns_s:.2f} x as fast")
    print(f"chart at {MAX_POINTS:,} points, exact extremes: {wide_rows / wide:.1f} x as fast ({wide * 1e3:.0f} ms)")
    print(f"the same before folding: {wide_rows / before:.1f} x ({before * 1e3:.0f} ms)")
    print(f"zoomed to 20,000 of them: {near_rows / near:.1f} x as fast ({near * 1e3:.0f} ms)")
    ratio = searched_rows / searched
    print(f"{FOUND} of {RUNS:,} runs by name, best metric first: {ratio:.1f} x as fast ({searched * 1e3:.0f} ms)")


def search(tenant: str, rows: psycopg.Connection[Any]) -> tuple[float, float]:
    """Median seconds of a page of the run table, and of the same from rows of points."""
    from stillroom.core.tenancy import tenant_tx
    from stillroom.runs.lifecycle import State
    from stillroom.runs.models import Project, Run, RunFence, Series
    from stillroom.runs.selectors import RunFilter
    from stillroom.telemetry.selectors.table import ColumnQuery, table

    rng = np.random.default_rng(1)
    with tenant_tx(tenant):
        project = Project.objects.get()
        made = Run.objects.bulk_create(
            Run(tenant_id=tenant, project=project, name=f"arm {n % 40}, seed {n}", state=State.HELD, spec_hash=str(n))
            for n in range(RUNS)
        )
        RunFence.objects.bulk_create(RunFence(tenant_id=tenant, run=run) for run in made)
        keys = [f"metric/{k}" for k in range(KEYS)]
        Series.objects.bulk_create(
            Series(tenant_id=tenant, run=run, key=key, n=10, last=value, last_step=9)
            for run in made
            for key, value in zip(keys, rng.standard_normal(KEYS).tolist(), strict=True)
        )
    with rows.cursor().copy("copy point from stdin") as copy:
        for run in made:
            for key in keys:
                for step, value in enumerate(rng.standard_normal(10).tolist()):
                    copy.write_row((run.id, key, step, value, 1.7e9))
    for name in ("point", "run", "series", "run_fence"):
        rows.execute(f"vacuum analyze {name}")
    wanted = [ColumnQuery(key, "last") for key in keys]

    def by_table() -> None:
        with tenant_tx(tenant):
            query = RunFilter(q="arm", project=project, sort="metric:metric/0")
            assert len(table(query, wanted, cursor=None, limit=FOUND).runs) == FOUND

    def by_rows() -> None:
        found = rows.execute(
            "with latest as (select distinct on (run, key) run, key, value from point where key = any(%s) "
            "order by run, key, step desc) "
            "select r.id, r.name, l.value from run r join latest l on l.run = r.id and l.key = 'metric/0' "
            "where r.name ilike '%%arm%%' order by l.value limit %s",
            [keys, FOUND],
        )
        assert len(found.fetchall()) == FOUND

    return median(by_table), median(by_rows)


def end(run_id: str) -> None:
    """The run is over."""
    from stillroom.runs.lifecycle import State
    from stillroom.runs.models import Run
    from stillroom.runs.services.control import external_run_end

    external_run_end(run=Run.objects.get(id=run_id), state=State.SUCCEEDED, actor="benchmark")


def external_runs() -> tuple[str, str, str]:
    """An organisation with two runs that a script logs; its tenant and their ids."""
    from stillroom.core.tenancy import identity_tx, tenant_tx
    from stillroom.runs.services.submit import external_run_start, project_create
    from stillroom.tenants.callers import members_of
    from stillroom.tenants.services import organisation_create

    organisation, user, _ = organisation_create(slug="bench", name="", owner_email="b@example.org", actor="benchmark")
    with identity_tx(user_id=user.id):
        (member,) = members_of(user)
    with tenant_tx(organisation.id):
        project = project_create(member=member, slug="bench", name="")
        one, two = (
            external_run_start(member=member, project=project, name="", tags={}, notes="", lease_s=3600, spec={})
            for _ in range(2)
        )
    return organisation.id, one.id, two.id


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
