"""The doors that only nodes pass: attach, heartbeat, claim, report, finish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from ninja import Status

from stillroom.core import tokens
from stillroom.core.errors import Forbidden
from stillroom.core.tenancy import sched_tx
from stillroom.runs.catalog import spec_spread
from stillroom.scheduling import schemas
from stillroom.scheduling.models import Node
from stillroom.scheduling.services import attempts, nodes
from stillroom.scheduling.services.holds import now
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["agent"])


@contextmanager
def _node(request: DoorRequest) -> Iterator[Node]:
    """The calling node inside the machine side's transaction."""
    presented = request.door.caller.node
    if presented is None:
        raise Forbidden("Only a node's token opens this.")
    request.door.checked = True
    with sched_tx():
        yield nodes.node_authenticate(presented)


def _run_token(run_id: str, epoch: int, tenant_id: str) -> str:
    return tokens.run_token(tokens.RunGrant(run_id, epoch, tenant_id), valid_s=2 * settings.ENV.lease_s)


@door.post("/agent/attach", needs=Can.NODE, response=schemas.AttachOut)
def attach(request: DoorRequest, payload: schemas.AttachIn) -> object:
    """An agent has started and says what it has."""
    with _node(request) as node:
        found = [nodes.FoundDevice(item.kind, item.index, item.name, item.memory_bytes) for item in payload.devices]
        node = nodes.node_attach(
            node=node,
            incarnation=payload.incarnation,
            hostname=payload.hostname,
            version=payload.version,
            devices=found,
        )
        return {
            "node": node.id,
            "name": node.name,
            "queue": node.queue,
            "heartbeat_s": settings.ENV.heartbeat_s,
            "lease_s": settings.ENV.lease_s,
            "grace_s": settings.ENV.grace_s,
        }


@door.post("/agent/heartbeat", needs=Can.NODE, response=schemas.HeartbeatOut)
def heartbeat(request: DoorRequest, payload: schemas.HeartbeatIn) -> object:
    """Renew all leases of this node at once, and hear what is wanted."""
    with _node(request) as node:
        beats = nodes.node_heartbeat(
            node=node,
            incarnation=payload.incarnation,
            held=[(item.run, item.epoch) for item in payload.runs],
            leaving=payload.leaving,
        )
        return {
            "runs": [
                {
                    "run": beat.run_id,
                    "epoch": beat.epoch,
                    "ok": beat.ok,
                    "intent": beat.intent,
                    "run_token": _run_token(beat.run_id, beat.epoch, beat.tenant_id) if beat.ok else None,
                }
                for beat in beats
            ],
            "assigned": [{"run": run_id, "epoch": epoch} for run_id, epoch in nodes.assigned_runs(node)],
            "draining": node.status == Node.Status.DRAINING,
            "server_time": now(),
        }


@door.get("/agent/runs", needs=Can.NODE, response=schemas.AssignedList)
def assigned(request: DoorRequest) -> object:
    """Runs assigned to this node and not claimed."""
    with _node(request) as node:
        return {"items": [{"run": run_id, "epoch": epoch} for run_id, epoch in nodes.assigned_runs(node)]}


@door.post("/agent/runs/{run}/claim", needs=Can.NODE, response=schemas.ClaimOut)
def claim(request: DoorRequest, run: str, payload: schemas.ClaimIn) -> object:
    """Take an assigned run: the answer is all that its execution needs."""
    with _node(request) as node:
        found = attempts.run_claim(node=node, run_id=run, epoch=payload.epoch, incarnation=payload.incarnation)
        row = found.run
        resume = found.resume
        return {
            "run": row.id,
            "epoch": row.epoch,
            "org": row.tenant.slug,
            "project": row.project.slug,
            "name": row.name,
            "recipe": row.recipe,
            "recipe_version": row.recipe_version,
            "spec": row.spec,
            "spec_hash": row.spec_hash,
            "seed": row.seed,
            "devices": [{"kind": kind, "index": index} for kind, index in found.devices],
            "spread": spec_spread(row.recipe, row.spec),
            "resume": {"step": resume.step, "epoch": resume.epoch, "files": resume.files} if resume else None,
            "run_token": _run_token(row.id, row.epoch, row.tenant_id),
            "lease_s": settings.ENV.lease_s,
            "grace_s": settings.ENV.grace_s,
            "time_limit_s": row.time_limit_s,
        }


@door.post("/agent/runs/{run}/started", needs=Can.NODE, response=schemas.StateOut)
def started(request: DoorRequest, run: str, payload: schemas.EpochIn) -> object:
    """The recipe executes."""
    with _node(request) as node:
        return attempts.run_started(node=node, run_id=run, epoch=payload.epoch)


@door.post("/agent/runs/{run}/stopping", needs=Can.NODE, response=schemas.StateOut)
def stopping(request: DoorRequest, run: str, payload: schemas.EpochIn) -> object:
    """The recipe was asked to stop."""
    with _node(request) as node:
        return attempts.run_stopping(node=node, run_id=run, epoch=payload.epoch)


@door.post("/agent/runs/{run}/checkpoint", needs=Can.NODE, response={204: None})
def checkpoint(request: DoorRequest, run: str, payload: schemas.CheckpointIn) -> object:
    """A checkpoint's files are all uploaded."""
    with _node(request) as node:
        files = [item.model_dump() for item in payload.files]
        attempts.run_checkpoint(node=node, run_id=run, epoch=payload.epoch, step=payload.step, files=files)
        return Status(204, None)


@door.post("/agent/runs/{run}/finish", needs=Can.NODE, response=schemas.StateOut)
def finish(request: DoorRequest, run: str, payload: schemas.AttemptEnd) -> object:
    """The attempt has ended and its last batch is stored."""
    with _node(request) as node:
        ending = attempts.Ending(
            outcome=payload.outcome,
            final_seq=payload.final_seq,
            exit_code=payload.exit_code,
            error_code=payload.error.code if payload.error else "",
            error_message=payload.error.message if payload.error else "",
            retryable=payload.retryable,
        )
        return attempts.run_finish(node=node, run_id=run, epoch=payload.epoch, ending=ending)
