"""Doors to what is kept and what goes: trash, storage and its policy, checkpoints."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connection

from stillroom.core.tenancy import current_tenant
from stillroom.runs.api.trashed import TrashedOut
from stillroom.runs.selectors import run_access
from stillroom.runs.services.trash import Item, in_trash, item_restore, kind_of, runs_of, trash_access
from stillroom.telemetry.models import StoragePolicy
from stillroom.telemetry.schemas import (
    CheckpointList,
    FreedOut,
    RestoredOut,
    StorageOut,
    StoragePolicyIn,
    TrashList,
)
from stillroom.telemetry.selectors.checkpoints import checkpoints, storage_policy
from stillroom.telemetry.services.artifacts import bytes_used
from stillroom.telemetry.services.purge import bytes_of, item_purge
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can
from stillroom.tenants.services import audit

door = Door(tags=["keeping"])
POLICY = tuple(StoragePolicyIn.model_fields)


def _out(item: Item) -> dict[str, Any]:
    runs = runs_of(item).filter(trashed_at__isnull=False).values_list("id", flat=True)
    return {**TrashedOut.of(item), "bytes": bytes_of(list(runs))}


@door.get("/trash", needs=Can.RUN_READ, response=TrashList)
def trash_list(request: DoorRequest, org: str | None = None) -> object:
    """What the organisation has thrown away, newest first, with the bytes that purging frees."""
    with request.door.org(org):
        return {"items": [_out(item) for item in in_trash()]}


@door.post("/trash/{item}/restore", needs=Can.RUN_EDIT, response=RestoredOut)
def trash_restore(request: DoorRequest, item: str) -> object:
    """Take something back."""
    with trash_access(request.door, item) as (member, found):
        back = item_restore(item=found, actor=member.email)
        return {"id": back.id, "kind": kind_of(back)}


@door.delete("/trash/{item}", needs=Can.PROJECT_MANAGE, response=FreedOut)
def trash_purge(request: DoorRequest, item: str) -> object:
    """Delete something in the trash for good, now."""
    with trash_access(request.door, item) as (member, found):
        return {"freed_bytes": item_purge(item=found, actor=member.email)}


_STORED = """
select (select coalesce(sum(pg_column_size(columns) + coalesce(pg_column_size(blocks), 0)), 0)
          from series_chunk where tenant_id = %(tenant)s),
       (select coalesce(sum(pg_column_size(lines)), 0) from log_chunk where tenant_id = %(tenant)s)
"""


def _storage() -> dict[str, Any]:
    policy = storage_policy()
    with connection.cursor() as cursor:
        cursor.execute(_STORED, {"tenant": current_tenant()})
        metric_bytes, log_bytes = cursor.fetchone()
    items = in_trash()
    thrown = [
        run for item in items for run in runs_of(item).filter(trashed_at__isnull=False).values_list("id", flat=True)
    ]
    return {
        "artifact_bytes": bytes_used(),
        "artifact_limit_bytes": settings.ENV.org_artifact_bytes,
        "metric_bytes": int(metric_bytes),
        "log_bytes": int(log_bytes),
        "trash_items": len(items),
        "trash_bytes": bytes_of(thrown),
        "trash_days": settings.ENV.trash_days,
        "policy": {name: getattr(policy, name) for name in POLICY},
    }


@door.get("/orgs/{org}/storage", needs=Can.ORG_READ, response=StorageOut)
def storage_get(request: DoorRequest, org: str) -> object:
    """What the organisation stores, what it may, and what its policy keeps."""
    with request.door.org(org):
        return _storage()


@door.put("/orgs/{org}/storage", needs=Can.ORG_MANAGE, response=StorageOut)
def storage_put(request: DoorRequest, org: str, payload: StoragePolicyIn) -> object:
    """Set the policy: null switches a rule off."""
    with request.door.org(org) as member:
        before = storage_policy()
        after = payload.model_dump()
        StoragePolicy.objects.update_or_create(tenant_id=member.tenant_id, defaults=after)
        audit(
            actor=member.email,
            action="storage.policy",
            object_id=member.tenant_id,
            tenant_id=member.tenant_id,
            before={name: getattr(before, name) for name in POLICY},
            after=after,
        )
        return _storage()


@door.get("/runs/{run}/checkpoints", needs=Can.RUN_READ, response=CheckpointList)
def checkpoint_list(request: DoorRequest, run: str) -> object:
    """The run's checkpoints, oldest first, and which rules of the policy keep each."""
    with run_access(request.door, run) as (_, found):
        return {
            "items": [
                {
                    "epoch": item.row.epoch,
                    "step": item.row.step,
                    "status": item.row.status,
                    "files": item.row.files,
                    "size_bytes": sum(int(file.get("size_bytes", 0)) for file in item.row.files),
                    "created_at": item.row.created_at,
                    "kept_by": item.kept_by,
                }
                for item in checkpoints(found.id, storage_policy())
            ]
        }
