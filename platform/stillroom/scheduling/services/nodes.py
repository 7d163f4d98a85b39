"""Nodes: made by an administrator, attached by their agent, kept alive by heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from stillroom.core import tokens
from stillroom.core.errors import Conflict, Unauthenticated
from stillroom.core.tenancy import admin_tx
from stillroom.runs.lifecycle import ACTIVE, State
from stillroom.runs.models import Run, RunLease
from stillroom.scheduling.models import AcceleratorKind, Allocation, Device, Node
from stillroom.scheduling.services.holds import now
from stillroom.scheduling.services.reap import attempt_lost
from stillroom.tenants.services import audit


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device as the agent reports it."""

    kind: str
    index: int
    name: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat says about one run: whether its lease holds, and what is wanted."""

    run_id: str
    epoch: int
    ok: bool
    intent: str
    tenant_id: str


def node_create(*, name: str, actor: str, renew: bool = False) -> tuple[Node, str]:
    """Make a node; the second value is its token, shown once. With `renew` an existing node gets a new token."""
    secret = tokens.new_secret()
    with admin_tx():
        node = Node.objects.filter(name=name).first()
        if node is not None and not renew:
            raise Conflict(f"There is already a node {name}.", fields={"name": "Taken."})
        if node is None:
            node = Node(name=name)
        node.secret_hash = tokens.hash_secret(secret)
        node.save()
        audit(actor=actor, action="node.token", object_id=node.id, tenant_id=None, after={"name": name})
    return node, tokens.render("node", node.id, secret)


def node_authenticate(presented: tokens.Presented) -> Node:
    """The node behind a token; raises Unauthenticated."""
    node = Node.objects.filter(id=presented.id).first()
    if node is None or not tokens.matches(presented.secret, node.secret_hash):
        raise Unauthenticated("The node token is unknown or was replaced.")
    return node


def node_attach(*, node: Node, incarnation: str, hostname: str, version: str, devices: Sequence[FoundDevice]) -> Node:
    """An agent has started: record its devices. A new incarnation has killed what older ones left, so their attempts
    are over.
    """
    node = Node.objects.select_for_update().get(id=node.id)
    if node.incarnation != incarnation:
        _close_old_incarnation(node)
    node.incarnation, node.hostname, node.version, node.heartbeat_at = incarnation, hostname, version, now()
    node.accepting = True
    node.save(update_fields=["incarnation", "hostname", "version", "heartbeat_at", "accepting"])
    seen = set()
    for found in devices:
        kind, _ = AcceleratorKind.objects.get_or_create(name=found.kind, defaults={"memory_bytes": found.memory_bytes})
        row, _ = Device.objects.update_or_create(
            node=node, kind=kind, index=found.index, defaults={"name": found.name, "memory_bytes": found.memory_bytes}
        )
        seen.add(row.id)
    Device.objects.filter(node=node).exclude(id__in=seen).update(status=Device.Status.GONE)
    clean = Device.objects.filter(id__in=seen).exclude(status=Device.Status.BROKEN)
    clean.update(status=Device.Status.FREE)
    return node


def _close_old_incarnation(node: Node) -> None:
    leases = RunLease.objects.filter(node_id=node.id, run__state__in=[state.value for state in ACTIVE])
    for run in Run.objects.select_for_update().filter(id__in=leases.values("run_id")).order_by("id"):
        lease = RunLease.objects.get(run_id=run.id)
        if lease.epoch == run.epoch and run.state != State.ASSIGNED:
            attempt_lost(run, code="node_restarted", message=f"The agent on {node.name} was restarted.")
        elif run.state == State.ASSIGNED:
            RunLease.objects.filter(run_id=run.id).update(incarnation="")


def node_heartbeat(
    *, node: Node, incarnation: str, held: Sequence[tuple[str, int]], leaving: bool = False
) -> list[Beat]:
    """Renew the leases of the runs that the node holds; tells for each whether it still holds it. Raises Conflict
    for an old incarnation.
    """
    if node.incarnation != incarnation:
        raise Conflict("Another agent has attached as this node.", code="node.replaced")
    at = now()
    Node.objects.filter(id=node.id).update(heartbeat_at=at, accepting=not leaving)
    rows = RunLease.objects.select_for_update(no_key=True).filter(
        node_id=node.id, run_id__in=[run_id for run_id, _ in held]
    )
    leases = {row.run_id: row for row in rows.order_by("run_id")}
    runs = {run.id: run for run in Run.objects.filter(id__in=list(leases))}
    beats = []
    for run_id, epoch in held:
        lease, run = leases.get(run_id), runs.get(run_id)
        ok = (
            lease is not None
            and run is not None
            and run.is_active
            and lease.epoch == run.epoch == epoch
            and lease.lease_until > at
        )
        if not ok or lease is None or run is None:
            beats.append(Beat(run_id, epoch, False, "cancel", ""))
            continue
        RunLease.objects.filter(run_id=run_id).update(lease_until=at + timedelta(seconds=settings.ENV.lease_s))
        beats.append(Beat(run_id, epoch, True, run.intent, run.tenant_id))
    _free_clean_devices(node, set(held))
    return beats


def _free_clean_devices(node: Node, held: set[tuple[str, int]]) -> None:
    """A quarantined device whose last attempt the node no longer lists is clean."""
    for device in Device.objects.filter(node=node, status=Device.Status.QUARANTINED):
        last = Allocation.objects.filter(device=device).order_by("-id").values_list("run_id", "epoch").first()
        if last is None or tuple(last) not in held:
            Device.objects.filter(id=device.id).update(status=Device.Status.FREE)


def assigned_runs(node: Node) -> list[tuple[str, int]]:
    """Runs that wait for this node to claim them, oldest first. One query."""
    rows = RunLease.objects.filter(node_id=node.id, run__state=State.ASSIGNED).order_by("run__created_at")
    return [(row.run_id, row.epoch) for row in rows]
