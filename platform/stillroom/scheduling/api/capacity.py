"""Doors to nodes, quotas and usage, as members see them."""

from __future__ import annotations

from datetime import date, timedelta

from django.utils import timezone

from stillroom.core.errors import Invalid
from stillroom.scheduling.schemas import NodeList, QuotaList, UsageList
from stillroom.scheduling.selectors import node_list, quota_list, usage_by_day
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["capacity"])


@door.get("/nodes", needs=Can.ORG_READ, response=NodeList)
def nodes(request: DoorRequest, org: str | None = None) -> object:
    """The installation's nodes; a device names its run only when the run is the organisation's own."""
    with request.door.org(org):
        return {"items": node_list()}


@door.get("/quotas", needs=Can.USAGE_READ, response=QuotaList)
def quotas(request: DoorRequest, org: str | None = None) -> object:
    """What the organisation may use at once, uses now and waits for, by kind of device."""
    with request.door.org(org):
        return {"items": quota_list()}


@door.get("/usage", needs=Can.USAGE_READ, response=UsageList)
def usage(request: DoorRequest, org: str | None = None, since: date | None = None, until: date | None = None) -> object:
    """Device seconds by day and kind; the last 30 days when no range is given."""
    until = until or timezone.now().date()
    since = since or until - min(timedelta(days=30), until - date.min)
    if since > until:
        raise Invalid("The range is empty.", fields={"since": "After until."})
    with request.door.org(org):
        return {"items": usage_by_day(since, until)}
