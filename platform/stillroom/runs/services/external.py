"""Going on with a run that a script logs: a new writer, a new epoch, the same run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from stillroom.core.errors import Conflict
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Attempt, Run, RunEvent, RunFence, RunLease
from stillroom.runs.services.transition import lock_run, run_transition

REOPENED = "external.reopened"
KEEP_ALL = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Reopened:
    """The epoch to write in, its last stored batch, and how far the epoch before it had come."""

    epoch: int
    last_seq: int
    previous_epoch: int
    previous_last_seq: int


def external_run_reopen(
    *, run: Run, actor: str, writer: str, after_epoch: int | None, step: int | None, lease_s: int
) -> Reopened:
    """Open the next epoch of an external run for `writer`; the same writer asking again gets the same answer.

    step: points of earlier epochs past it are not shown any more; None keeps all. Raises Conflict: run.managed,
    run.taken_over. One transaction under the run's lock; announces the run when its state changes.
    """
    run = _lock_external(run)
    lease = RunLease.objects.select_for_update().get(run=run)
    fence = RunFence.objects.select_for_update().get(run=run)
    if lease.incarnation == writer and run.state == State.RUNNING:
        event = RunEvent.objects.filter(run=run, epoch=run.epoch, code=REOPENED).first()
        if event is not None:
            before = event.detail
            return Reopened(fence.epoch, fence.last_seq, before["epoch"], before["last_seq"])
    if after_epoch is not None and run.epoch != after_epoch:
        message = f"Another writer has gone on with this run: it is at epoch {run.epoch}, not {after_epoch}."
        raise Conflict(message, code="run.taken_over", epoch=run.epoch)
    previous, stored = run.epoch, fence.last_seq
    Attempt.objects.filter(run=run, epoch=previous, ended_at=None).update(ended_at=timezone.now(), outcome="superseded")
    _open_epoch(
        run,
        actor=actor,
        message="A script goes on with this run.",
        detail={"epoch": previous, "last_seq": stored, "writer": writer},
        resume_step=KEEP_ALL if step is None else step,
    )
    RunFence.objects.filter(run=run).update(epoch=run.epoch, open=True, last_seq=0, last_hash=None)
    lease.epoch, lease.incarnation = run.epoch, writer
    lease.lease_until = timezone.now() + timedelta(seconds=lease_s)
    lease.save(update_fields=["epoch", "incarnation", "lease_until"])
    return Reopened(run.epoch, 0, previous, stored)


def external_run_revive(*, run: Run, actor: str, lease_s: int) -> Run:
    """Let an ended external run be RUNNING again under a new epoch, for whoever writes; all its points stay visible.

    A run that is RUNNING stays as it is. Raises Conflict for a managed run.
    """
    run = _lock_external(run)
    if not run.is_terminal:
        return run
    _open_epoch(run, actor=actor, message="", detail={}, resume_step=KEEP_ALL)
    # The reopening counts as batch 1, so that the next batch does not rebuild summaries that are still true.
    RunFence.objects.filter(run=run).update(epoch=run.epoch, open=True, last_seq=1, last_hash=b"")
    until = timezone.now() + timedelta(seconds=lease_s)
    RunLease.objects.update_or_create(
        run=run, defaults={"tenant_id": run.tenant_id, "epoch": run.epoch, "lease_until": until}
    )
    return run


def _lock_external(run: Run) -> Run:
    run = lock_run(run.id)
    if not run.external:
        raise Conflict("Only a run that a script logs can be gone on with. Use retry.", code="run.managed")
    return run


def _open_epoch(run: Run, *, actor: str, message: str, detail: dict[str, Any], resume_step: int) -> None:
    """RUNNING under the next epoch, with an attempt that begins now; `run` is brought up to date."""
    run_transition(
        run,
        to=State.RUNNING,
        actor=actor,
        code=REOPENED,
        message=message,
        next_epoch=True,
        detail=detail,
        ended_at=None,
        reason_code="",
        reason="",
        attempt=run.attempt + 1,
    )
    now = timezone.now()
    Attempt.objects.create(
        tenant_id=run.tenant_id,
        run=run,
        epoch=run.epoch,
        number=run.attempt,
        resume_step=resume_step,
        assigned_at=now,
        claimed_at=now,
        started_at=now,
    )
