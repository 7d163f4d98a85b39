"""Holding and releasing devices, with the ledger; and ending an attempt's fence and lease. Always inside `sched_tx`."""

from __future__ import annotations

from datetime import datetime

from django.db import connections
from django.utils import timezone

from stillroom.runs.models import Attempt, Run, RunFence
from stillroom.runs.services.transition import open_alias
from stillroom.scheduling.models import Allocation, Device, UsageRecord


def now() -> datetime:
    """The database's clock: the only one that leases are compared with."""
    with connections[open_alias()].cursor() as cursor:
        cursor.execute("select clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def release(run: Run, *, outcome: str, quarantine: bool = False) -> None:
    """End the current attempt's hold: fence, allocations, ledger, attempt row.

    quarantine: something may still run there; the devices wait until their node says that they are clean.
    """
    at = now()
    RunFence.objects.filter(run_id=run.id, epoch=run.epoch).update(open=False)
    rows = Allocation.objects.select_for_update().filter(run_id=run.id, epoch=run.epoch, to_at__isnull=True)
    open_rows = list(rows.select_related("device").order_by("device_id"))
    for row in open_rows:
        UsageRecord.objects.create(
            tenant_id=run.tenant_id,
            run_id=run.id,
            epoch=run.epoch,
            kind=row.device.kind_id,
            device=row.device_id,
            from_at=row.from_at,
            to_at=at,
            device_seconds=(at - row.from_at).total_seconds(),
        )
        row.to_at = at
        row.save(update_fields=["to_at"])
    if quarantine:
        Device.objects.filter(id__in=[row.device_id for row in open_rows]).update(status=Device.Status.QUARANTINED)
    Attempt.objects.filter(run_id=run.id, epoch=run.epoch).update(ended_at=timezone.now(), outcome=outcome)
