"""Quotas: what a new maximum would do to today's queue, setting it, removing it. Inside `admin_tx`.

The preview runs the scheduler's own decision on a changed snapshot, so that it cannot disagree with what happens next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from stillroom.core.errors import NotFound
from stillroom.runs.lifecycle import ACTIVE
from stillroom.runs.models import Run
from stillroom.runs.services.transition import notify_queue
from stillroom.scheduling.decision import Assign, Snapshot, Wait, choose
from stillroom.scheduling.models import Quota
from stillroom.scheduling.services.dispatch import read_snapshot
from stillroom.tenants.services import audit


@dataclass(frozen=True, slots=True)
class Moved:
    """A waiting run whose next decision the change alters."""

    run_id: str
    tenant_id: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What a maximum would do now.

    old: the maximum in force (None: no maximum). held: devices the organisation holds. running_over: its running runs
    that do not fit under the new maximum, newest first; they are not stopped. never: its waiting runs that ask for more
    than the maximum. moved: every waiting run, of any organisation, that would be decided otherwise.
    """

    old: int | None
    new: int | None
    held: int
    running_over: tuple[str, ...]
    waiting: int
    never: tuple[str, ...]
    moved: tuple[Moved, ...]


def quota_effect(*, tenant_id: str, kind: str, max_devices: int | None) -> Effect:
    """The effect of a maximum (None: of none) before it is saved. Seven queries."""
    snapshot = read_snapshot()
    pair = (tenant_id, kind)
    limits = dict(snapshot.limits)
    old = limits.pop(pair, None)
    if max_devices is not None:
        limits[pair] = max_devices
    mine = [run for run in snapshot.waiting if (run.tenant_id, run.kind) == pair]
    return Effect(
        old=old,
        new=max_devices,
        held=snapshot.held.get(pair, 0),
        running_over=_over(tenant_id, kind, snapshot.held.get(pair, 0), max_devices),
        waiting=len(mine),
        never=tuple(run.run_id for run in mine if max_devices is not None and run.devices > max_devices),
        moved=tuple(_moved(snapshot, replace(snapshot, limits=limits))),
    )


def _over(tenant_id: str, kind: str, held: int, max_devices: int | None) -> tuple[str, ...]:
    """The newest running runs that must end before the organisation is inside the maximum."""
    over: list[str] = []
    if max_devices is None or held <= max_devices:
        return ()
    active = Run.objects.filter(
        tenant_id=tenant_id, req_kind=kind, state__in=[state.value for state in ACTIVE], external=False
    )
    for run_id, devices in active.order_by("-started_at", "-id").values_list("id", "req_devices"):
        if held <= max_devices:
            break
        over.append(run_id)
        held -= devices
    return tuple(over)


def _moved(before: Snapshot, after: Snapshot) -> Iterable[Moved]:
    tenants = {run.run_id: run.tenant_id for run in before.waiting}
    old = {decision.run_id: _words(decision) for decision in choose(before)}
    for decision in choose(after):
        words = _words(decision)
        if old[decision.run_id] != words:
            yield Moved(decision.run_id, tenants[decision.run_id], old[decision.run_id], words)


def _words(decision: Assign | Wait) -> str:
    return "Starts now." if isinstance(decision, Assign) else decision.message


def quota_set(
    *, tenant_id: str, kind: str, max_devices: int, actor: str, actor_ip: str | None = None, reason: str = ""
) -> Quota:
    """Set the most devices of a kind that an organisation may hold. The scheduler follows at its next pass; nothing
    stops.
    """
    row = Quota.objects.select_for_update().filter(tenant_id=tenant_id, kind_id=kind).first()
    before = None if row is None else {"kind": kind, "max_devices": row.max_devices}
    row = row or Quota(tenant_id=tenant_id, kind_id=kind)
    row.max_devices = max_devices
    row.save()
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action="quota.change" if before else "quota.create",
        object_id=row.id,
        tenant_id=tenant_id,
        before=before,
        after={"kind": kind, "max_devices": max_devices},
        reason=reason.strip(),
    )
    notify_queue()
    return row


def quota_remove(*, quota_id: str, actor: str, actor_ip: str | None = None, reason: str = "") -> None:
    """Take a maximum away: the organisation is then limited by the capacity alone."""
    row = Quota.objects.select_for_update().filter(id=quota_id).first()
    if row is None:
        raise NotFound("This quota")
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action="quota.remove",
        object_id=row.id,
        tenant_id=row.tenant_id,
        before={"kind": row.kind_id, "max_devices": row.max_devices},
        reason=reason.strip(),
    )
    row.delete()
    notify_queue()
