"""What an administrator does to a tenant's run: bump, pause, cancel, release.

Each act needs a reason. Who and why are written into the run's own history, where the tenant reads them, and into the
audit trail, in the transaction of the change.
"""

from __future__ import annotations

from enum import StrEnum

from django.db.models import Max

from stillroom.core.errors import Conflict, Invalid, NotFound
from stillroom.runs.lifecycle import Intent, State, rises
from stillroom.runs.models import Run
from stillroom.runs.services.control import run_cancel, run_pause, run_resume
from stillroom.runs.services.transition import announce_run, lock_runs, notify_queue, run_event
from stillroom.tenants.services import audit

REASON_CHARS = 400


class Act(StrEnum):
    """What may be done to a run from the console."""

    BUMP = "bump"
    PAUSE = "pause"
    CANCEL = "cancel"
    RELEASE = "release"


PAST = {Act.BUMP: "Moved up", Act.PAUSE: "Paused", Act.CANCEL: "Cancelled", Act.RELEASE: "Released"}


def act_effect(run: Run, act: Act) -> str:
    """What the act would do to this run, as a sentence; raises Conflict when it cannot be done. No query."""
    state = State(run.state)
    if run.is_terminal:
        raise Conflict(f"The run has ended already: {state.value.lower()}.", code="run.ended")
    if act is Act.BUMP:
        if state is not State.QUEUED:
            raise Conflict("Only a run in the queue can be moved up.", code="run.not_queued")
        return "Goes before the organisation's other waiting runs of this kind. Other organisations keep their places."
    if act is Act.RELEASE:
        if state is not State.HELD:
            raise Conflict("Only a held run can be released.", code="run.not_held")
        return "Goes back into the queue."
    if run.external:
        if act is Act.PAUSE:
            raise Conflict("A script's run cannot be paused from here.", code="run.external")
        return "Is marked as cancelled; the script may go on, but its points are refused."
    intent = Intent.CANCEL if act is Act.CANCEL else Intent.PAUSE
    if state is State.HELD and act is Act.PAUSE:
        raise Conflict("The run is held already.", code="run.held")
    if run.is_active and not rises(Intent(run.intent), intent):
        raise Conflict("The run has been asked to stop already.", code="run.stopping")
    if state in (State.QUEUED, State.HELD):
        return "Ends at once." if act is Act.CANCEL else "Is held at once, until somebody releases it."
    if act is Act.CANCEL:
        return f"Saves a last checkpoint on {run.node_name or 'its node'} and ends."
    return f"Saves a checkpoint on {run.node_name or 'its node'} and is held, until somebody releases it."


def run_act(*, run_id: str, act: Act, actor: str, actor_ip: str | None, reason: str) -> Run:
    """Do it, inside `admin_tx`. Raises NotFound, Invalid without a reason, Conflict when the run's state forbids it."""
    reason = reason.strip()
    if not reason or len(reason) > REASON_CHARS:
        message = f"Give a reason of at most {REASON_CHARS} characters. The organisation reads it in the run's history."
        raise Invalid(message, fields={"reason": message})
    run = next(iter(lock_runs([run_id])), None)
    if run is None:
        raise NotFound("This run")
    act_effect(run, act)
    before = _shape(run)
    told = f"{PAST[act]} by an administrator: {reason}"
    state = State(run.state)
    run_event(run, actor=actor, from_state=state, to_state=state, code=f"admin.{act.value}", message=told)
    match act:
        case Act.CANCEL:
            run_cancel(run=run, actor=actor)
        case Act.PAUSE:
            run_pause(run=run, actor=actor)
            Run.objects.filter(id=run_id, state=State.HELD).update(waiting=f"Held. {told}")
        case Act.RELEASE:
            run_resume(run=run, actor=actor)
        case Act.BUMP:
            _bump(run)
    changed: Run = Run.objects.get(id=run_id)
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action=f"run.{act.value}",
        object_id=run_id,
        tenant_id=changed.tenant_id,
        before=before,
        after=_shape(changed),
        reason=reason,
    )
    return changed


def _bump(run: Run) -> None:
    rivals = Run.objects.filter(tenant_id=run.tenant_id, req_kind=run.req_kind, state=State.QUEUED).exclude(id=run.id)
    highest = rivals.aggregate(top=Max("priority"))["top"]
    Run.objects.filter(id=run.id).update(priority=run.priority if highest is None else max(run.priority, highest + 1))
    notify_queue()
    announce_run(run)


def _shape(run: Run) -> dict[str, object]:
    return {"state": run.state, "intent": run.intent, "priority": run.priority}
