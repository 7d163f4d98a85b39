"""What an administrator does to machines: cordon, drain, take devices out of service. Inside `admin_tx`."""

from __future__ import annotations

from stillroom.core.errors import Invalid, NotFound
from stillroom.runs.lifecycle import ACTIVE, Intent
from stillroom.runs.models import Run
from stillroom.runs.services.transition import intent_raise, lock_runs, notify_queue
from stillroom.scheduling.models import AcceleratorKind, Device, Node
from stillroom.tenants.services import audit


def node_runs(node_id: str) -> list[Run]:
    """The runs that the node holds now. One query."""
    active = [state.value for state in ACTIVE]
    rows = Run.objects.filter(lease__node_id=node_id, state__in=active, external=False).select_related("tenant")
    return [run for run in rows.select_related("lease").order_by("id") if run.lease.epoch == run.epoch]


def node_set_status(
    *, node_id: str, status: Node.Status, actor: str, actor_ip: str | None = None, reason: str = ""
) -> tuple[Node, int]:
    """Cordon, uncordon or drain. Returns the node and how many runs were asked to move.

    Cordoned: takes no new run. Draining: also asks its runs to save a checkpoint and go back to the queue, and says why
    in each run's history.
    """
    node = Node.objects.select_for_update().filter(id=node_id).first()
    if node is None:
        raise NotFound("This node")
    if status is Node.Status.DRAINING and not reason.strip():
        raise Invalid("Say why the node is drained: it moves runs, and their owners read the reason.")
    before, moved = node.status, []
    node.status = status
    node.save(update_fields=["status"])
    if status is Node.Status.DRAINING:
        message = f"An administrator drains {node.name}: {reason.strip()}"
        for run in lock_runs([run.id for run in node_runs(node_id)]):
            if run.is_active and intent_raise(run, intent=Intent.PREEMPT, actor=actor, message=message):
                moved.append(run.id)
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action=f"node.{status.value}",
        object_id=node_id,
        tenant_id=None,
        before={"status": before},
        after={"status": status.value, "runs_asked_to_move": moved},
        reason=reason.strip(),
    )
    notify_queue()
    return node, len(moved)


def device_set_status(
    *, device_id: str, status: Device.Status, actor: str, actor_ip: str | None = None, reason: str = ""
) -> Device:
    """Quarantine a device, mark it broken, or put it back into service. A run that holds it keeps it until it ends."""
    device = Device.objects.select_for_update().filter(id=device_id).first()
    if device is None:
        raise NotFound("This device")
    before, device.status = device.status, status
    device.save(update_fields=["status"])
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action=f"device.{status.value}",
        object_id=device_id,
        tenant_id=None,
        before={"status": before},
        after={"status": status.value, "node": device.node_id, "kind": device.kind_id, "index": device.index},
        reason=reason.strip(),
    )
    notify_queue()
    return device


def kind_save(*, kind: AcceleratorKind, actor: str, actor_ip: str | None = None) -> AcceleratorKind:
    """Add a kind or change its title, memory and weight."""
    if kind.weight <= 0:
        raise Invalid("The weight must be above 0.", fields={"weight": "Above 0."})
    old = AcceleratorKind.objects.filter(name=kind.name).values("title", "memory_bytes", "weight").first()
    kind.save()
    audit(
        actor=actor,
        actor_ip=actor_ip,
        action="kind.change" if old else "kind.create",
        object_id=kind.name,
        tenant_id=None,
        before=dict(old) if old else None,
        after={"title": kind.title, "memory_bytes": kind.memory_bytes, "weight": kind.weight},
    )
    return kind
