"""Purging: what was thrown away goes for good, with its points, logs, files and, when nobody else needs it, content."""

from __future__ import annotations

from django.db import connection, transaction

from stillroom.core.tenancy import APP, current_tenant, tenant_tx
from stillroom.runs.models import CheckpointRecord, Project, Run, Study
from stillroom.runs.services.trash import Item, kind_of, runs_of
from stillroom.telemetry.models import ArtifactFile
from stillroom.telemetry.services.artifacts import blobs_release
from stillroom.tenants.services import audit

_BYTES = """
select (select coalesce(sum(pg_column_size(columns) + coalesce(pg_column_size(blocks), 0)), 0)
          from series_chunk where tenant_id = %(tenant)s and run_id = any(%(runs)s)),
       (select coalesce(sum(pg_column_size(lines)), 0)
          from log_chunk where tenant_id = %(tenant)s and run_id = any(%(runs)s)),
       (select coalesce(sum(size_bytes), 0) from blob b
         where b.tenant_id = %(tenant)s
           and exists (select 1 from artifact a where a.tenant_id = b.tenant_id and a.sha256 = b.sha256
                                                  and a.run_id = any(%(runs)s))
           and not exists (select 1 from artifact a where a.tenant_id = b.tenant_id and a.sha256 = b.sha256
                                                      and a.run_id <> all(%(runs)s)))
"""


def bytes_of(run_ids: list[str]) -> int:
    """What purging these runs frees: compressed points and lines, and content that no other run names. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_BYTES, {"tenant": current_tenant(), "runs": run_ids})
        row = cursor.fetchone()
    return int(sum(row))


def item_purge(*, item: Item, actor: str) -> int:
    """Delete something in the trash for good, with its runs that are there too; returns the bytes freed."""
    found = type(item).everything.select_for_update().filter(id=item.id, trashed_at__isnull=False).first()
    if found is None:
        return 0
    doomed = runs_of(item).filter(trashed_at__isnull=False)
    run_ids = sorted(doomed.select_for_update().order_by("id").values_list("id", flat=True))
    freed = runs_purge(run_ids)
    if isinstance(found, Study):
        Run.everything.filter(study=found).update(study=None)
    if isinstance(found, Project):
        _delete("study", list(Study.everything.filter(project=found).values_list("id", flat=True)))
    if not isinstance(found, Run):
        _delete(kind_of(found), [found.id])
    audit(
        actor=actor,
        action=f"{kind_of(item)}.purge",
        object_id=item.id,
        tenant_id=current_tenant(),
        before={"name": found.slug if isinstance(found, Project) else found.name},
        after={"freed_bytes": freed, "runs": len(run_ids)},
    )
    return freed


def runs_purge(run_ids: list[str]) -> int:
    """Delete runs with all that hangs on them; returns the bytes freed. The foreign keys in the database cascade."""
    if not run_ids:
        return 0
    hashes = list(ArtifactFile.objects.filter(run_id__in=run_ids).values_list("sha256", flat=True).distinct())
    freed = bytes_of(run_ids)
    Run.everything.filter(parent_id__in=run_ids).update(parent=None)
    _delete("run", run_ids)
    tenant_id = current_tenant()
    # Content goes only when the rows are gone for certain; what fails here is found again by the sweep.
    transaction.on_commit(lambda: _release(tenant_id, hashes), using=APP, robust=True)
    return freed


def _release(tenant_id: str, hashes: list[str]) -> None:
    with tenant_tx(tenant_id):
        blobs_release(hashes)


def checkpoint_purge(*, row: CheckpointRecord, kept: list[CheckpointRecord]) -> None:
    """Delete a checkpoint and those of its files that no kept one shares; the sweep then frees their content."""
    needed = {(other.epoch, file["path"]) for other in kept for file in other.files}
    paths = [file["path"] for file in row.files if (row.epoch, file["path"]) not in needed]
    ArtifactFile.objects.filter(run_id=row.run_id, epoch=row.epoch, path__in=paths).delete()
    row.delete()


def _delete(table: str, ids: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'delete from "{table}" where tenant_id = %s and id = any(%s)', [current_tenant(), ids])
