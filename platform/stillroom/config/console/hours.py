"""Device time from the ledger and from what is held now, split at midnight UTC. Inside `admin_tx`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db import connections

from stillroom.core.tenancy import ADMIN
from stillroom.tenants.models import Organisation

_HELD = """
with held as (
    select tenant_id, run_id, kind, from_at, to_at from usage_ledger where to_at > %(since)s and from_at < %(until)s
    union all
    select a.tenant_id, a.run_id, d.kind_id, a.from_at, now() from allocation a join device d on d.id = a.device_id
    where a.to_at is null and a.from_at < %(until)s
)
"""
_BY_DAY = f"""{_HELD}
select tenant_id, day::date,
    sum(extract(epoch from least(to_at, day + interval '1 day', %(until)s) - greatest(from_at, day, %(since)s)))
from held, generate_series(
    date_trunc('day', greatest(from_at, %(since)s)),
    least(to_at, %(until)s) - interval '1 microsecond',
    interval '1 day'
) as day
group by 1, 2
"""
_BY_KIND = f"""{_HELD}
select tenant_id, kind, count(distinct run_id),
    sum(extract(epoch from least(to_at, %(until)s) - greatest(from_at, %(since)s)))
from held where to_at > %(since)s group by 1, 2
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """Device time of one organisation and kind in a span of days."""

    tenant: str
    slug: str
    kind: str
    runs: int
    device_seconds: float


def _span(since: date, until: date) -> dict[str, datetime]:
    """From the first moment of `since` to the last of `until`."""
    end = datetime.combine(until + timedelta(days=1), time(), UTC)
    return {"since": datetime.combine(since, time(), UTC), "until": end}


def seconds_by_day(since: date, until: date) -> dict[str, dict[date, float]]:
    """Device seconds by organisation and day. One query."""
    found: dict[str, dict[date, float]] = defaultdict(dict)
    with connections[ADMIN].cursor() as cursor:
        cursor.execute(_BY_DAY, _span(since, until))
        for tenant_id, day, seconds in cursor.fetchall():
            found[tenant_id][day] = float(seconds)
    return found


def usage_by_tenant(since: date, until: date) -> list[Usage]:
    """Device time by organisation and kind. Two queries."""
    names = {row.id: row for row in Organisation.objects.all()}
    with connections[ADMIN].cursor() as cursor:
        cursor.execute(_BY_KIND, _span(since, until))
        rows = cursor.fetchall()
    found = [
        Usage(names[tenant].name, names[tenant].slug, kind, runs, float(seconds))
        for tenant, kind, runs, seconds in rows
        if tenant in names
    ]
    return sorted(found, key=lambda usage: (usage.kind, -usage.device_seconds, usage.tenant))
