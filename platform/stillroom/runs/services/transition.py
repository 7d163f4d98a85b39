"""`run_transition`: the only writer of `run.state`, compare-and-set on state and epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from stillroom.core import pubsub
from stillroom.core.errors import NotFound
from stillroom.core.tenancy import current_scope
from stillroom.runs.lifecycle import TERMINAL, Intent, State, may_follow
from stillroom.runs.models import Run, RunEvent

QUEUE_CHANNEL = "stillroom_queue"


def run_transition(
    run: Run,
    *,
    to: State,
    actor: str,
    code: str = "",
    message: str = "",
    next_epoch: bool = False,
    detail: dict[str, Any] | None = None,
    **changes: Any,
) -> bool:
    """Move `run` from the state and epoch it was read with to `to`; False, and nothing written, when it has moved on.

    next_epoch also raises the epoch, which fences everything that the old attempt still sends. `changes` are further
    columns. Writes the history in the same transaction and announces on commit. Refreshes `run`.
    """
    old, epoch = State(run.state), run.epoch
    if not may_follow(old, to) and not (run.external and to is State.RUNNING):
        return False
    if to in TERMINAL:
        changes.setdefault("ended_at", timezone.now())
    if to in (State.QUEUED, State.HELD):
        changes.setdefault("waiting_code", "" if to is State.QUEUED else "held")
        changes.setdefault("waiting", "" if to is State.QUEUED else "Held. Release it to let it run.")
        changes.setdefault("waiting_rank", None)
    changed = Run.objects.filter(id=run.id, state=old, epoch=epoch).update(
        state=to, **({"epoch": F("epoch") + 1} if next_epoch else {}), **changes
    )
    if not changed:
        return False
    run.refresh_from_db(using=open_alias())
    run_event(run, actor=actor, from_state=old, to_state=to, code=code, message=message, detail=detail or {})
    if to in (State.QUEUED, *TERMINAL):
        notify_queue()
    announce_run(run)
    return True


def intent_raise(run: Run, *, intent: Intent, actor: str, message: str = "") -> bool:
    """Let an active attempt's intent rise; False when it wants that much already or has ended."""
    lower = [value for value in Intent if list(Intent).index(value) < list(Intent).index(intent)]
    changed = (
        Run.objects.filter(id=run.id, epoch=run.epoch, intent__in=lower)
        .exclude(state__in=TERMINAL)
        .update(intent=intent)
    )
    if changed:
        run.refresh_from_db(using=open_alias())
        state = State(run.state)
        run_event(run, actor=actor, from_state=state, to_state=state, code=f"intent.{intent.value}", message=message)
        notify_queue()
        announce_run(run)
    return bool(changed)


def run_event(
    run: Run,
    *,
    actor: str,
    from_state: State | None,
    to_state: State,
    code: str = "",
    message: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """One line of the run's history, in the open transaction."""
    RunEvent.objects.create(
        tenant_id=run.tenant_id,
        run_id=run.id,
        epoch=run.epoch,
        actor=actor,
        from_state=from_state or "",
        to_state=to_state,
        code=code,
        message=message,
        detail=detail or {},
    )


def announce_run(run: Run) -> None:
    """On commit, tell those who watch the run's project that it changed. Carries ids; viewers read what they may
    see.
    """
    payload = {"run": run.id, "project": run.project_id}
    groups = (pubsub.project_group(run.project_id), pubsub.org_group(run.tenant_id))

    def send() -> None:
        for group in groups:
            pubsub.announce(group, "run", payload)

    transaction.on_commit(send, using=open_alias())


def notify_queue() -> None:
    """Wake the scheduler when this transaction commits."""
    with connections[open_alias()].cursor() as cursor:
        cursor.execute("select pg_notify(%s, '')", [QUEUE_CHANNEL])


def lock_runs(ids: Iterable[str]) -> list[Run]:
    """Lock runs in id order, so that two lockers never wait for each other.

    Rows that refer to a run (points, files) can be written meanwhile: their writers hold the fence and would wait here.
    """
    return list(Run.objects.select_for_update(no_key=True).filter(id__in=list(ids)).order_by("id"))


def lock_run(run_id: str) -> Run:
    """The same for one run; NotFound when it went to the trash a moment ago."""
    for run in lock_runs([run_id]):
        return run
    raise NotFound("This run")


def open_alias() -> str:
    """The database alias of the open scope, for commit hooks and raw SQL."""
    scope = current_scope()
    assert scope is not None
    return scope.alias
