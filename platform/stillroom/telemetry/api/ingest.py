"""The door through which every point enters: nodes with a run token, scripts with an API token."""

from __future__ import annotations

from django.conf import settings

from stillroom.core import pubsub
from stillroom.core.errors import Conflict, Invalid, TooLarge
from stillroom.core.tenancy import tenant_tx
from stillroom.runs.selectors import run_access
from stillroom.runs.services.control import external_run_alive
from stillroom.telemetry.batches import Batch, parse_batch, read_body
from stillroom.telemetry.schemas import StoredOut
from stillroom.telemetry.services.ingest import IDLE_FLUSH_MS, WATCHED_FLUSH_MS, Stored, ingest
from stillroom.telemetry.services.throttle import throttle
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["telemetry"])


@door.post("/runs/{run}/points", needs=Can.RUN_WRITE, response=StoredOut)
def points(request: DoorRequest, run: str) -> object:
    """Store one numbered batch of points, logs and progress, exactly once. JSON or MessagePack; see the wire
    reference.
    """
    who, tenant = _payer(request)
    body = _body(request)
    throttle(who, batches=1, tenant=tenant, sent_bytes=len(body))
    batch = _parse(request, body)
    throttle(who, tenant=tenant, points=batch.points)
    stored = _store(request, run, batch)
    listeners = 0
    if stored.frame is not None:
        listeners = pubsub.publish_frame(run, stored.frame)
        pubsub.announce_progress(run, stored.project_id)
    flush_ms = WATCHED_FLUSH_MS if listeners else IDLE_FLUSH_MS
    return {"last_seq": stored.last_seq, "intent": stored.intent, "flush_ms": flush_ms}


def _payer(request: DoorRequest) -> tuple[str, str]:
    """Whose buckets a batch draws from: the attempt's or the person's own, and their organisation's.

    A person in several organisations draws as one until the run's organisation is known.
    """
    caller = request.door.caller
    if caller.run is not None:
        return f"run:{caller.run.run_id}", caller.run.tenant_id
    user = caller.user.id if caller.user is not None else "node"
    return f"user:{user}", caller.members[0].tenant_id if len(caller.members) == 1 else f"user:{user}"


def _body(request: DoorRequest) -> bytes:
    limit = settings.ENV.max_batch_bytes
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        message = f"A batch may have at most {limit} bytes. Send smaller batches."
        raise TooLarge(message, code="ingest.too_large", fields={"Content-Length": message}, limit=limit)
    return request.read(limit + 1)


def _parse(request: DoorRequest, body: bytes) -> Batch:
    limit = settings.ENV.max_batch_bytes
    payload = read_body(
        body,
        content_type=request.content_type or "",
        encoding=request.headers.get("Content-Encoding", "").lower(),
        max_bytes=limit,
    )
    return parse_batch(payload, max_points=settings.ENV.max_batch_points)


def _store(request: DoorRequest, run: str, batch: Batch) -> Stored:
    grant = request.door.run_grant(run)
    if grant is not None:
        if grant.epoch != batch.epoch:
            raise Conflict("This token is for another attempt.", code="ingest.stale_epoch", epoch=grant.epoch)
        with tenant_tx(grant.tenant_id):
            return ingest(run_id=run, batch=batch)
    with run_access(request.door, run) as (_, found):
        if not found.external:
            raise Invalid("Points of a managed run come from its node.", code="run.managed")
        stored = ingest(run_id=run, batch=batch)
        external_run_alive(run_id=run, lease_s=settings.ENV.lease_s * 5)
        return stored
