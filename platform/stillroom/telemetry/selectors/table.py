"""The run table by columns: the latest, lowest, highest value, or the value at a step, of any metrics, page by page.

Only the runs of the page and the metrics asked for are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db import connection

from stillroom.core.tenancy import current_tenant
from stillroom.runs.models import Project, Run
from stillroom.runs.selectors import RunFilter, run_page
from stillroom.telemetry.codec import Floats
from stillroom.telemetry.selectors.values import values_at

FIELDS = {"last": ("last", "last_step"), "min": ("low", "low_step"), "max": ("high", "high_step")}


@dataclass(frozen=True, slots=True)
class ColumnQuery:
    """A column. what: last, min, max, n (points), or at (the last point at or before `step`)."""

    key: str
    what: str
    step: int | None = None


@dataclass(slots=True)
class TableColumn:
    """A column's values, one a run. Where `has` is False the run has none: its value and step mean nothing."""

    query: ColumnQuery
    value: Floats
    step: Floats
    has: Any


@dataclass(slots=True)
class Table:
    """One page."""

    runs: list[Run]
    next_cursor: str | None
    total: int
    columns: list[TableColumn] = field(default_factory=list)


def table(wanted: RunFilter, columns: list[ColumnQuery], *, cursor: str | None, limit: int) -> Table:
    """A page of the table. At most five queries, and two for each column at a step."""
    keys = sorted({column.key for column in columns if column.what != "at"})
    page = run_page(wanted, columns=keys, cursor=cursor, limit=limit, grouped=False)
    answer = Table(page.items, page.next_cursor, page.total)
    ids = [run.id for run in page.items]
    for column in columns:
        if column.what == "at":
            cells = values_at(ids, column.key, column.step or 0)
        else:
            cells = {}
            for run_id in ids:
                row = page.metrics.get(run_id, {}).get(column.key)
                if row is None:
                    continue
                value, step = (
                    (row.n, row.last_step)
                    if column.what == "n"
                    else (getattr(row, name) for name in FIELDS[column.what])
                )
                if value is not None:
                    cells[run_id] = (step or 0, value)
        has = np.array([run_id in cells for run_id in ids], bool)
        steps, values = (
            np.array([cells[run_id][place] if run_id in cells else np.nan for run_id in ids], np.float64)
            for place in (0, 1)
        )
        answer.columns.append(TableColumn(column, values, steps, has))
    return answer


# Walks the index from key to key, so that thousands of keys in thousands of runs cost one look each.
_KEYS = """
with recursive found as (
    (select key from series where tenant_id = %(tenant)s and key > %(after)s order by key limit 1)
    union all
    select (select s.key from series s where s.tenant_id = %(tenant)s and s.key > found.key order by s.key limit 1)
      from found where found.key is not null)
select key from found
 where key is not null and strpos(lower(key), lower(%(q)s)) > 0
   and exists (select 1 from series s join run r on r.id = s.run_id
                where s.tenant_id = %(tenant)s and s.key = found.key and r.project_id = %(project)s
                  and r.trashed_at is null)
 limit %(limit)s
"""


def metric_keys(project: Project, *, q: str, after: str, limit: int) -> list[str]:
    """Metric keys of a project's runs after `after`, in order. One query."""
    values: dict[str, Any] = {"tenant": current_tenant(), "project": project.id, "q": q, "after": after, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, values)
        return [row[0] for row in cursor.fetchall()]
