"""The reaper: attempts whose lease ran out are closed and their runs go on. A heartbeat is the only failure
detector.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import F

from stillroom.core.tenancy import sched_tx
from stillroom.runs.lifecycle import ACTIVE, Intent, State, after_stop
from stillroom.runs.models import Attempt, Run, RunFence, RunLease
from stillroom.runs.services.transition import run_transition
from stillroom.scheduling.services.holds import now, release

log = structlog.get_logger(__name__)

SKEW_S = 15


def backoff_until(attempt: int) -> datetime:
    """When the next attempt may start: 2, 4, 8 ... seconds, at most 5 minutes."""
    return now() + timedelta(seconds=min(2 ** max(1, attempt), 300))


def reap() -> int:
    """Close every attempt whose lease ended more than 15 s ago. Returns how many."""
    with sched_tx():
        late = now() - timedelta(seconds=SKEW_S)
        rows = RunLease.objects.filter(lease_until__lt=late, run__state__in=[state.value for state in ACTIVE])
        expired = list(rows.filter(epoch=F("run__epoch")).values_list("run_id", flat=True))
    return sum(_reap_one(run_id) for run_id in sorted(expired))


def _reap_one(run_id: str) -> bool:
    with sched_tx():
        rows = Run.objects.select_for_update(skip_locked=True)  # a row that somebody holds is looked at next time
        run = rows.filter(id=run_id, state__in=[state.value for state in ACTIVE]).first()
        if run is None:
            return False
        lease = RunLease.objects.select_for_update().get(run_id=run_id)
        if lease.epoch != run.epoch or lease.lease_until >= now() - timedelta(seconds=SKEW_S):
            return False
        if run.external:
            RunFence.objects.filter(run=run).update(open=False)
            Attempt.objects.filter(run=run, epoch=run.epoch, ended_at=None).update(ended_at=now(), outcome="lost")
            message = "The script stopped sending without ending the run."
            return run_transition(
                run, to=State.LOST, actor="reaper", code="lost", message=message, reason_code="lost", reason=message
            )
        silence = f"No heartbeat from {run.node_name} for {settings.ENV.lease_s + SKEW_S} s."
        return attempt_lost(run, code="lost", message=silence)


def attempt_lost(run: Run, *, code: str, message: str) -> bool:
    """Close a locked run's attempt that will not speak again; the run is queued, held, cancelled or failed.

    An attempt that was never claimed is not counted.
    """
    unclaimed = run.state == State.ASSIGNED
    release(run, outcome=code, quarantine=not unclaimed)
    intent = Intent(run.intent)
    used = run.attempt - (1 if unclaimed else 0)
    if intent in (Intent.CANCEL, Intent.PAUSE):
        target = after_stop(intent)
    else:
        target = State.QUEUED if used < run.max_attempts else State.FAILED
    changes: dict[str, Any] = {"attempt": used}
    if target is State.FAILED:
        changes |= {"reason_code": code, "reason": f"{message} All {run.max_attempts} attempts are used."}
    elif target is not State.CANCELLED:
        changes |= {"intent": Intent.RUN, "not_before": backoff_until(used)}
    log.info("attempt.lost", run=run.id, epoch=run.epoch, to=target.value, why=code)
    return run_transition(run, to=target, actor="reaper", code=code, message=message, next_epoch=True, **changes)
