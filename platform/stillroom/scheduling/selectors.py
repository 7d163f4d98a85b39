"""Questions about nodes, quotas and usage, as a tenant sees them."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from stillroom.runs.lifecycle import State
from stillroom.runs.models import Run
from stillroom.scheduling.models import AcceleratorKind, Allocation, Device, Node, Quota, UsageRecord


def node_list() -> list[dict[str, Any]]:
    """All nodes with their devices; a run is named only when it belongs to the open tenant. Three queries."""
    mine = dict(Allocation.objects.filter(to_at__isnull=True).values_list("device_id", "run_id"))
    devices = list(Device.objects.exclude(status=Device.Status.GONE).order_by("node_id", "kind_id", "index"))
    return [
        {
            "id": node.id,
            "name": node.name,
            "status": node.status if node.is_alive else "down",
            "hostname": node.hostname,
            "version": node.version,
            "heartbeat_at": node.heartbeat_at,
            "devices": [
                {
                    "kind": device.kind_id,
                    "index": device.index,
                    "name": device.name,
                    "memory_bytes": device.memory_bytes,
                    "status": device.status,
                    "run": mine.get(device.id),
                }
                for device in devices
                if device.node_id == node.id
            ],
        }
        for node in Node.objects.order_by("name")
    ]


def quota_list() -> list[dict[str, Any]]:
    """What the open tenant may use, uses and waits for, by kind. Five queries."""
    alive = timezone.now() - timedelta(seconds=settings.ENV.lease_s)
    usable = Device.objects.filter(node__heartbeat_at__gt=alive).exclude(
        status__in=[Device.Status.GONE, Device.Status.BROKEN]
    )
    capacity = Counter(usable.values_list("kind_id", flat=True))
    held = Counter(Allocation.objects.filter(to_at__isnull=True).values_list("device__kind_id", flat=True))
    waiting = Counter(Run.objects.filter(state=State.QUEUED).values_list("req_kind", flat=True))
    limits = dict(Quota.objects.values_list("kind_id", "max_devices"))
    kinds = AcceleratorKind.objects.order_by("name").values_list("name", flat=True)
    return [
        {
            "kind": kind,
            "max_devices": limits.get(kind),
            "in_use": held[kind],
            "waiting": waiting[kind],
            "capacity": capacity[kind],
        }
        for kind in kinds
    ]


def usage_by_day(since: date, until: date) -> list[dict[str, Any]]:
    """Device seconds of the open tenant by day and kind, from the ledger plus what is held now. Two queries."""
    rows = UsageRecord.objects.filter(to_at__date__gte=since, to_at__date__lte=until)
    found: Counter[tuple[str, date]] = Counter()
    grouped = rows.values("kind", day=TruncDate("to_at")).annotate(total=Sum("device_seconds"))
    for row in grouped:
        found[row["kind"], row["day"]] += row["total"]
    now = timezone.now()
    if since <= now.date() <= until:
        for kind, from_at in Allocation.objects.filter(to_at__isnull=True).values_list(F("device__kind_id"), "from_at"):
            found[kind, now.date()] += (now - from_at).total_seconds()
    return [
        {"kind": kind, "day": day.isoformat(), "device_seconds": total}
        for (kind, day), total in sorted(found.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
