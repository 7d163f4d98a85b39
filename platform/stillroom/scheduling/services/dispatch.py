"""The scheduler's pass: read everything under one lock, decide, write leases, wake nodes. And the sweep that wakes
again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, connections, transaction
from django.db.models import F

from stillroom.core import queue
from stillroom.core.tenancy import SCHED, sched_tx
from stillroom.runs.lifecycle import Intent, State, after_stop
from stillroom.runs.models import Attempt, Run, RunFence, RunLease
from stillroom.runs.services.transition import announce_run, open_alias, run_transition
from stillroom.scheduling.decision import Assign, FreeDevice, Snapshot, Wait, Waiting, choose
from stillroom.scheduling.models import Allocation, Device, Node, Quota
from stillroom.scheduling.services.holds import now, release

log = structlog.get_logger(__name__)

DISPATCH_LOCK = 0x5711_0001
START_DEADLINE_S = 60
WAKE_AGAIN_S = 10


def dispatch() -> int:
    """One pass. Returns how many runs were assigned; 0 also when another scheduler holds the lock."""
    with sched_tx():
        with connections[SCHED].cursor() as cursor:
            cursor.execute("select pg_try_advisory_xact_lock(%s)", [DISPATCH_LOCK])
            if not cursor.fetchone()[0]:
                return 0
        settle_unclaimed()
        snapshot = read_snapshot()
        if not snapshot.waiting:
            return 0
        decisions = choose(snapshot)
        assigned = sum(_assign(decision) for decision in decisions if isinstance(decision, Assign))
        _explain([decision for decision in decisions if isinstance(decision, Wait)])
    return assigned


# A device second counts half after six hours, and not at all after a day.
_PAST = """
select tenant_id, kind, sum(device_seconds * power(0.5, extract(epoch from now() - to_at) / 21600.0))
  from usage_ledger where to_at > now() - interval '1 day' group by tenant_id, kind
"""


def read_snapshot() -> Snapshot:
    """The queue, the free devices, the quotas and recent use, as the decision needs them. Six queries."""
    at = now()
    rows = Run.objects.filter(state=State.QUEUED).order_by("created_at", "id")
    fields = ("id", "tenant_id", "req_kind", "req_devices", "priority", "not_before")
    waiting = [
        Waiting(
            run_id=row["id"],
            tenant_id=row["tenant_id"],
            kind=row["req_kind"],
            devices=row["req_devices"],
            priority=row["priority"],
            order=order,
            ready=row["not_before"] is None or row["not_before"] <= at,
        )
        for order, row in enumerate(rows.values(*fields))
    ]
    alive = at - timedelta(seconds=settings.ENV.lease_s)
    nodes = Node.objects.filter(status=Node.Status.READY, accepting=True, heartbeat_at__gt=alive)
    usable = Device.objects.filter(node__in=nodes).exclude(status__in=[Device.Status.BROKEN, Device.Status.GONE])
    devices = list(usable.values("id", "node_id", "kind_id", "index", "status"))
    open_rows = list(Allocation.objects.filter(to_at__isnull=True).values("device_id", "tenant_id", "device__kind_id"))
    busy = {row["device_id"] for row in open_rows}
    per_node = Counter((device["node_id"], device["kind_id"]) for device in devices)
    largest: dict[str, int] = defaultdict(int)
    for (_, kind), count in per_node.items():
        largest[kind] = max(largest[kind], count)
    with connections[open_alias()].cursor() as cursor:
        cursor.execute(_PAST)
        past = {(tenant_id, kind): float(seconds) for tenant_id, kind, seconds in cursor.fetchall()}
    return Snapshot(
        waiting=waiting,
        free=[
            FreeDevice(device["id"], device["node_id"], device["kind_id"], device["index"])
            for device in devices
            if device["id"] not in busy and device["status"] == Device.Status.FREE
        ],
        capacity=Counter(device["kind_id"] for device in devices),
        largest=largest,
        held=Counter((row["tenant_id"], row["device__kind_id"]) for row in open_rows),
        past=past,
        sizes=per_node,
        limits={(row.tenant_id, row.kind_id): row.max_devices for row in Quota.objects.all()},
    )


def _assign(decision: Assign) -> bool:
    """Write one assignment; False when the run or a device was taken in between, or somebody holds the run's row."""
    rows = Run.objects.select_for_update(skip_locked=True)
    run = rows.filter(id=decision.run_id, state=State.QUEUED, intent=Intent.RUN).first()
    node = Node.objects.get(id=decision.node_id)
    if run is None:
        return False
    at = now()
    try:
        with transaction.atomic(using=SCHED):
            changed = run_transition(
                run,
                to=State.ASSIGNED,
                actor="scheduler",
                code="assigned",
                message=f"Assigned to {node.name}.",
                next_epoch=True,
                attempt=F("attempt") + 1,
                node_name=node.name,
                waiting_code="",
                waiting="",
                waiting_rank=None,
                not_before=None,
            )
            if not changed:
                return False
            for device_id in decision.device_ids:
                Allocation.objects.create(
                    tenant_id=run.tenant_id, run=run, epoch=run.epoch, device_id=device_id, from_at=at
                )
            RunFence.objects.filter(run=run).update(epoch=run.epoch, open=True, last_seq=0, last_hash=None)
            lease = {
                "epoch": run.epoch,
                "node_id": node.id,
                "incarnation": node.incarnation,
                "lease_until": at + timedelta(seconds=START_DEADLINE_S),
                "woken_at": at,
            }
            RunLease.objects.update_or_create(run=run, tenant_id=run.tenant_id, defaults=lease)
            Attempt.objects.create(
                tenant_id=run.tenant_id,
                run=run,
                epoch=run.epoch,
                number=run.attempt,
                node_name=node.name,
                assigned_at=at,
            )
    except IntegrityError as error:
        log.warning("dispatch.device_taken", run=run.id, error=str(error))
        return False
    target, run_id, epoch = node.queue, run.id, run.epoch
    transaction.on_commit(lambda: queue.wake(target, run_id, epoch) and None, using=SCHED)
    return True


# Rows that somebody else holds are left for the next pass: the scheduler never waits for a person.
_EXPLAIN = """
with said as (select * from unnest(%(id)s::text[], %(code)s::text[], %(message)s::text[], %(rank)s::int[])
                            as s(id, code, message, rank)),
     mine as (select r.id from run r join said using (id) where r.state = 'QUEUED'
               order by r.id for no key update of r skip locked)
update run r set waiting_code = said.code, waiting = said.message, waiting_rank = said.rank
  from said join mine using (id) where r.id = said.id
returning r.id
"""


def _explain(waits: list[Wait]) -> None:
    """Write the reasons that changed. Three queries, however long the queue is."""
    current = {
        row["id"]: (row["waiting_code"], row["waiting"], row["waiting_rank"])
        for row in Run.objects.filter(state=State.QUEUED).values("id", "waiting_code", "waiting", "waiting_rank")
    }
    news = [wait for wait in waits if current.get(wait.run_id) != (wait.code, wait.message, wait.rank)]
    if not news:
        return
    with connections[SCHED].cursor() as cursor:
        cursor.execute(
            _EXPLAIN,
            {
                "id": [wait.run_id for wait in news],
                "code": [wait.code for wait in news],
                "message": [wait.message for wait in news],
                "rank": [wait.rank for wait in news],
            },
        )
        changed = [run_id for (run_id,) in cursor.fetchall()]
    for run in Run.objects.filter(id__in=changed).only("id", "project_id", "tenant_id"):
        announce_run(run)


def settle_unclaimed() -> None:
    """Runs that somebody stopped after assignment and before the node claimed them: nothing has started, so they
    move at once.
    """
    rows = Run.objects.select_for_update(skip_locked=True).filter(state=State.ASSIGNED).exclude(intent=Intent.RUN)
    for run in rows.order_by("id"):
        target = after_stop(Intent(run.intent))
        release(run, outcome=run.intent)
        changes: dict[str, Any] = {} if target is State.CANCELLED else {"intent": Intent.RUN}
        run_transition(
            run,
            to=target,
            actor="scheduler",
            code=f"stopped.{run.intent}",
            next_epoch=True,
            attempt=F("attempt") - 1,
            **changes,
        )


def sweep() -> int:
    """Wake nodes again for runs that they have not claimed. Returns how many wake-ups were sent."""
    with sched_tx():
        late = now() - timedelta(seconds=WAKE_AGAIN_S)
        rows = RunLease.objects.filter(run__state=State.ASSIGNED, woken_at__lt=late).order_by("run_id")
        found = list(rows.values_list("run_id", "epoch", "node_id"))
        RunLease.objects.filter(run_id__in=[run_id for run_id, _, _ in found]).update(woken_at=now())
    return sum(queue.wake(f"node.{node_id}", run_id, epoch) for run_id, epoch, node_id in found)
