"""The sweep: what policy and the trash's patience say goes, and nothing else. Safe to die anywhere."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from stillroom.core.tenancy import sched_tx, tenant_tx
from stillroom.runs.lifecycle import TERMINAL
from stillroom.runs.models import CheckpointRecord, Run
from stillroom.runs.services.trash import KINDS, item_trash
from stillroom.telemetry.models import ArtifactFile, Blob, OwnedFile, Upload
from stillroom.telemetry.selectors.checkpoints import checkpoints, has_rule, storage_policy
from stillroom.telemetry.services.artifacts import blobs_release
from stillroom.telemetry.services.purge import checkpoint_purge, item_purge
from stillroom.telemetry.store import incoming
from stillroom.tenants.models import Organisation

log = structlog.get_logger(__name__)

EVERY_S = 600.0
A_PASS = 100
KEEP_TAG = "keep"
ACTOR = "sweep"
_swept_at = -EVERY_S


def sweep_pass(*, stop: Any = None) -> int:
    """Sweep every organisation, at most each ten minutes; returns the bytes freed."""
    global _swept_at
    if time.monotonic() - _swept_at < EVERY_S:
        return 0
    _swept_at = time.monotonic()
    with sched_tx():
        tenants = list(Organisation.objects.order_by("id").values_list("id", flat=True))
    freed = 0
    for tenant_id in tenants:
        if stop is not None and stop.is_set():
            break
        freed += sweep(tenant_id=tenant_id)
    return freed


def sweep(*, tenant_id: str) -> int:
    """Sweep one organisation: retention, trash, checkpoints, unfinished uploads, unnamed content. Bytes freed."""
    _retain(tenant_id)
    _thin_checkpoints(tenant_id)
    freed = _empty_trash(tenant_id) + _unnamed(tenant_id)
    _unfinished(tenant_id)
    if freed:
        log.info("sweep.freed", tenant=tenant_id, bytes=freed)
    return freed


def _retain(tenant_id: str) -> None:
    """Runs that ended longer ago than the organisation keeps them go to the trash, unless tagged `keep`."""
    with tenant_tx(tenant_id):
        days = storage_policy().retain_days
        if days is None:
            return
        old = Run.objects.filter(
            state__in=[state.value for state in TERMINAL], ended_at__lt=timezone.now() - timedelta(days=days)
        )
        for run in old.exclude(tags__has_key=KEEP_TAG).order_by("ended_at")[:A_PASS]:
            item_trash(item=run, actor="retention")


def _empty_trash(tenant_id: str) -> int:
    freed = 0
    before = timezone.now() - timedelta(days=settings.ENV.trash_days)
    for model in KINDS.values():
        with tenant_tx(tenant_id):
            rows: list[Any] = list(
                model.everything.filter(trashed_at__lt=before, trashed_with="").order_by("trashed_at")[:A_PASS]
            )
        for row in rows:
            with tenant_tx(tenant_id):
                freed += item_purge(item=row, actor=ACTOR)
    return freed


def _thin_checkpoints(tenant_id: str) -> None:
    with tenant_tx(tenant_id):
        policy = storage_policy()
        if not has_rule(policy):
            return
        several = CheckpointRecord.objects.filter(run=OuterRef("pk"))
        ended = Run.objects.filter(Exists(several), state__in=[state.value for state in TERMINAL])
        run_ids = list(ended.order_by("-ended_at").values_list("id", flat=True)[: 10 * A_PASS])
    for run_id in run_ids:
        with tenant_tx(tenant_id):
            found = checkpoints(run_id, policy)
            kept = [item.row for item in found if item.kept_by]
            for item in found:
                if not item.kept_by:
                    checkpoint_purge(row=item.row, kept=kept)


def _unfinished(tenant_id: str) -> None:
    """Old uploads, finished or not, are forgotten, and so are pieces on this machine that no upload knows."""
    before = timezone.now() - timedelta(days=settings.ENV.upload_days)
    with tenant_tx(tenant_id):
        Upload.objects.filter(created_at__lt=before).delete()
        known = set(Upload.objects.values_list("id", flat=True))
    for path in incoming(tenant_id).iterdir():
        if path.name not in known and path.stat().st_mtime < before.timestamp():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _unnamed(tenant_id: str) -> int:
    """Content whose last file was replaced, or that was never published."""
    with tenant_tx(tenant_id):
        named = ArtifactFile.objects.filter(sha256=OuterRef("sha256"))
        free = Q(reserved_until__isnull=True) | Q(reserved_until__lt=timezone.now())
        owned = OwnedFile.objects.filter(sha256=OuterRef("sha256"))
        unnamed = Blob.objects.filter(free, ~Exists(named), ~Exists(owned))
        return blobs_release(unnamed.values_list("sha256", flat=True)[: 10 * A_PASS])
