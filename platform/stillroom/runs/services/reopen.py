"""A script's run that goes on after its end: it was resumed, or was thought lost."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from stillroom.core.errors import Conflict
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Attempt, Run, RunFence, RunLease
from stillroom.runs.services.transition import lock_run, run_transition

EVERY_STEP = 2**63 - 1


def external_run_reopen(*, run: Run, actor: str, lease_s: int) -> Run:
    """Let an ended external run be RUNNING again under a new epoch; all its points stay visible.

    A run that is RUNNING stays as it is. Raises Conflict for a managed run.
    """
    run = lock_run(run.id)
    if not run.external:
        raise Conflict("Only a run that a script logs can be taken up again. Use retry.", code="run.managed")
    if not run.is_terminal:
        return run
    now = timezone.now()
    moved = run_transition(
        run, to=State.RUNNING, actor=actor, code="external.reopened", next_epoch=True, ended_at=None,
        attempt=run.attempt + 1, reason_code="", reason="",
    )  # fmt: skip
    assert moved
    # The reopening counts as batch 1, so that the next batch does not rebuild summaries that are still true.
    RunFence.objects.filter(run=run).update(epoch=run.epoch, open=True, last_seq=1, last_hash=b"")
    until = now + timedelta(seconds=lease_s)
    RunLease.objects.update_or_create(
        run=run, defaults={"tenant_id": run.tenant_id, "epoch": run.epoch, "lease_until": until}
    )
    Attempt.objects.create(
        tenant_id=run.tenant_id, run=run, epoch=run.epoch, number=run.attempt, resume_step=EVERY_STEP,
        assigned_at=now, claimed_at=now, started_at=now,
    )  # fmt: skip
    return run
