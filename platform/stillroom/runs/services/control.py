"""What people do to runs: cancel, pause, resume, edit; and how external runs stay alive and end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from stillroom.core import queue
from stillroom.core.errors import Conflict
from stillroom.runs.lifecycle import Intent, State
from stillroom.runs.models import Attempt, Run, RunFence, RunLease, Study
from stillroom.runs.services.transition import (
    announce_run,
    intent_raise,
    lock_run,
    lock_runs,
    open_alias,
    run_transition,
)
from stillroom.tenants.callers import Member


def run_cancel(*, run: Run, actor: str) -> Run:
    """Stop a run for good. What waits ends at once; an attempt saves a last checkpoint first. Cancelling twice is no
    error.

    A run that finished before the cancel arrived keeps its true state.
    """
    return _want(run, Intent.CANCEL, State.CANCELLED, actor, "Cancelled.")


def run_pause(*, run: Run, actor: str) -> Run:
    """Hold a run: what waits is held at once, an attempt stops with a checkpoint and is held then."""
    if run.external:
        raise Conflict("A script's run cannot be paused from here.", code="run.external")
    return _want(run, Intent.PAUSE, State.HELD, actor, "Paused.")


def _want(run: Run, intent: Intent, at_once: State, actor: str, message: str) -> Run:
    run = lock_run(run.id)
    if run.external and not run.is_terminal:
        external_run_end(run=run, state=State.CANCELLED, actor=actor)
        return run
    if run.state in (State.QUEUED, State.HELD):
        run_transition(run, to=at_once, actor=actor, code=f"intent.{intent.value}", message=message)
    elif run.is_active and intent_raise(run, intent=intent, actor=actor, message=message):
        lease = RunLease.objects.filter(run=run, epoch=run.epoch).first()
        if lease is not None and lease.node_id:
            target, run_id, epoch = f"node.{lease.node_id}", run.id, run.epoch
            transaction.on_commit(lambda: queue.wake(target, run_id, epoch) and None, using=open_alias())
    elif run.is_terminal and intent is not Intent.CANCEL:
        raise Conflict(f"The run has ended: {run.state}.", code="run.ended")
    return run


def run_resume(*, run: Run, actor: str) -> Run:
    """Release a held run into the queue."""
    run = lock_run(run.id)
    if run.state != State.HELD:
        raise Conflict(f"Only a held run can be released; this one is {run.state}.", code="run.not_held")
    run_transition(run, to=State.QUEUED, actor=actor, code="released", intent=Intent.RUN)
    return run


def run_edit(*, run: Run, changes: dict[str, Any]) -> Run:
    """Change name, tags or notes."""
    for name, value in changes.items():
        setattr(run, name, value)
    run.save(update_fields=sorted(changes))
    announce_run(run)
    return run


def study_cancel(*, study: Study, member: Member) -> int:
    """Cancel every run of the study that has not ended; returns how many that were."""
    rows = [run for run in lock_runs(study.runs.values_list("id", flat=True)) if not run.is_terminal]
    for run in rows:
        run_cancel(run=run, actor=member.email)
    return len(rows)


def external_run_end(*, run: Run, state: State, actor: str) -> Run:
    """End a script's run; ending it twice the same way is no error. Locks the run before its fence, as all do."""
    lock_run(run.id)
    run.refresh_from_db(using=open_alias())
    if run.state == state:
        return run
    RunFence.objects.filter(run=run).update(open=False)
    if not run_transition(run, to=state, actor=actor, code="external.finished"):
        raise Conflict(f"The run has ended already: {run.state}.", code="run.ended")
    Attempt.objects.filter(run=run, epoch=run.epoch).update(ended_at=timezone.now(), outcome=state)
    return run


def external_run_alive(*, run_id: str, lease_s: int) -> bool:
    """Renew a script's lease; False when the run has ended."""
    until = timezone.now() + timedelta(seconds=lease_s)
    alive = RunLease.objects.filter(run_id=run_id, run__external=True, run__state=State.RUNNING)
    return bool(alive.update(lease_until=until))
