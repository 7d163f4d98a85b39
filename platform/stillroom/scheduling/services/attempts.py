"""One attempt as its agent reports it: claim, start, checkpoint, stop, finish. Every change is guarded by the epoch.

Lock order everywhere: run, fence, lease, allocation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import F

from stillroom.core.errors import Conflict, Invalid
from stillroom.runs.lifecycle import Intent, Outcome, State, after_stop
from stillroom.runs.models import Attempt, CheckpointRecord, Run, RunFence, RunLease
from stillroom.runs.services.transition import run_event, run_transition
from stillroom.scheduling.models import Allocation, Node
from stillroom.scheduling.services.holds import now, release
from stillroom.scheduling.services.reap import backoff_until

WORKING = (State.STARTING, State.RUNNING, State.STOPPING)


@dataclass(frozen=True, slots=True)
class Claim:
    """What the agent needs to execute an attempt."""

    run: Run
    devices: list[tuple[str, int]]
    resume: CheckpointRecord | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended, as its agent says."""

    outcome: Outcome
    final_seq: int
    exit_code: int | None
    error_code: str = ""
    error_message: str = ""
    retryable: bool = False


def _stale(run_id: str) -> Conflict:
    return Conflict(f"This attempt of {run_id} is over, or belongs to another node.", code="run.stale")


def run_claim(*, node: Node, run_id: str, epoch: int, incarnation: str) -> Claim:
    """ASSIGNED to STARTING. Exactly one claim wins; raises Conflict `run.not_claimable` otherwise.

    The agent that won may ask again before it reports a start: its answer may have been lost on the way.
    """
    refused = Conflict("This run is not waiting for this node at this epoch.", code="run.not_claimable")
    run = (
        Run.objects.select_for_update(of=("self",))
        .select_related("project", "tenant")
        .filter(id=run_id, epoch=epoch, state__in=[State.ASSIGNED, State.STARTING], intent=Intent.RUN)
        .first()
    )
    lease = RunLease.objects.select_for_update().filter(run_id=run_id, epoch=epoch, node_id=node.id).first()
    if run is None or lease is None or lease.lease_until <= now() or node.incarnation != incarnation:
        raise refused
    if run.state == State.STARTING:
        if lease.incarnation != incarnation:
            raise refused
        return _claim_of(run, epoch)
    resume = _newest_checkpoint(run)
    step = resume.step if resume else None
    message = "" if step is None else f"Resumes from step {step:,}."
    if not run_transition(run, to=State.STARTING, actor=f"node {node.name}", code="claimed", message=message):
        raise refused
    lease.lease_until, lease.incarnation = now() + timedelta(seconds=settings.ENV.lease_s), incarnation
    lease.save(update_fields=["lease_until", "incarnation"])
    Attempt.objects.filter(run=run, epoch=epoch).update(claimed_at=now(), resume_step=step)
    return _claim_of(run, epoch)


def _newest_checkpoint(run: Run) -> CheckpointRecord | None:
    complete = CheckpointRecord.objects.filter(run=run, status=CheckpointRecord.Status.COMPLETE)
    return complete.order_by("-step", "-epoch").first()


def _claim_of(run: Run, epoch: int) -> Claim:
    devices = Allocation.objects.filter(run=run, epoch=epoch, to_at__isnull=True).order_by("device__index")
    return Claim(run, list(devices.values_list("device__kind_id", "device__index")), _newest_checkpoint(run))


def _own(node: Node, run_id: str, epoch: int, states: tuple[State, ...]) -> Run:
    """Lock an attempt of this node whose lease still holds; raises Conflict `run.stale`."""
    run = Run.objects.select_for_update().filter(id=run_id, epoch=epoch, state__in=states).first()
    lease = RunLease.objects.filter(run_id=run_id, epoch=epoch, node_id=node.id).first()
    if run is None or lease is None or lease.lease_until <= now():
        raise _stale(run_id)
    return run


def run_started(*, node: Node, run_id: str, epoch: int) -> Run:
    """STARTING to RUNNING; saying it twice is no error."""
    run = _own(node, run_id, epoch, WORKING)
    if run.state == State.STARTING:
        at = now()
        first: dict[str, Any] = {} if run.started_at else {"started_at": at}
        run_transition(run, to=State.RUNNING, actor=f"node {node.name}", code="started", **first)
        Attempt.objects.filter(run=run, epoch=epoch).update(started_at=at)
    return run


def run_stopping(*, node: Node, run_id: str, epoch: int) -> Run:
    """To STOPPING, because of the intent; saying it twice is no error."""
    run = _own(node, run_id, epoch, WORKING)
    if run.state != State.STOPPING and run.intent != Intent.RUN:
        run_transition(run, to=State.STOPPING, actor=f"node {node.name}", code=f"stopping.{run.intent}")
    return run


def run_checkpoint(*, node: Node, run_id: str, epoch: int, step: int, files: list[dict[str, Any]]) -> None:
    """From now on a restart resumes at `step`. The two newest checkpoints are kept as records."""
    run = _own(node, run_id, epoch, WORKING)
    if not files:
        raise Invalid("A checkpoint has files.", fields={"files": "At least one."})
    CheckpointRecord.objects.update_or_create(
        tenant_id=run.tenant_id, run=run, epoch=epoch, step=step, defaults={"files": files}
    )
    message = f"Checkpoint at step {step:,}."
    state = State(run.state)
    run_event(
        run,
        actor=f"node {node.name}",
        from_state=state,
        to_state=state,
        code="checkpoint",
        message=message,
        detail={"step": step},
    )


def run_finish(*, node: Node, run_id: str, epoch: int, ending: Ending) -> Run:
    """End the attempt. Exactly one of finish, reap and a second finish wins.

    Raises Conflict `run.tail_missing` (with `last_seq`) while batches are missing, so that no metric tail is lost, and
    `run.stale` when the attempt is over.
    """
    run = _own(node, run_id, epoch, WORKING)
    closed = RunFence.objects.filter(run=run, epoch=epoch, open=True, last_seq=ending.final_seq).update(open=False)
    if not closed:
        last = RunFence.objects.filter(run=run).values_list("last_seq", flat=True).first()
        raise Conflict(f"Batches after {last} are missing.", code="run.tail_missing", last_seq=last)
    if ending.error_code == "checkpoint.invalid":
        _mark_corrupt(run)
    release(run, outcome=ending.error_code or ending.outcome)
    target, changes = _after(run, ending)
    message = ending.error_message
    if target is State.FAILED:
        changes |= {
            "reason_code": ending.error_code or "failed",
            "reason": message or "The run failed without saying why.",
        }
    run_transition(
        run,
        to=target,
        actor=f"node {node.name}",
        code=ending.error_code or f"attempt.{ending.outcome}",
        message=message,
        exit_code=ending.exit_code,
        **changes,
    )
    return run


def _after(run: Run, ending: Ending) -> tuple[State, dict[str, Any]]:
    """Where the run goes, and what changes with it."""
    intent = Intent(run.intent)
    if ending.outcome is Outcome.SUCCEEDED:
        return State.SUCCEEDED, {}
    if intent is Intent.CANCEL:
        return State.CANCELLED, {}
    if ending.outcome is Outcome.STOPPED:
        return after_stop(intent), {"intent": Intent.RUN, "attempt": F("attempt") - 1}
    if ending.retryable and run.attempt < run.max_attempts:
        target = State.HELD if intent is Intent.PAUSE else State.QUEUED
        return target, {"intent": Intent.RUN, "not_before": backoff_until(run.attempt)}
    return State.FAILED, {}


def _mark_corrupt(run: Run) -> None:
    """The checkpoint that this attempt was given cannot be read: the next attempt gets the one before."""
    newest = CheckpointRecord.objects.filter(run=run, epoch__lt=run.epoch, status=CheckpointRecord.Status.COMPLETE)
    row = newest.order_by("-step", "-epoch").first()
    if row is not None:
        row.status = CheckpointRecord.Status.CORRUPT
        row.save(update_fields=["status"])
