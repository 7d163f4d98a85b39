"""Doors to runs."""

from __future__ import annotations

from typing import Annotated

from django.conf import settings
from ninja import Header, Query, Status

from stillroom.core.errors import Conflict, Invalid
from stillroom.core.pagination import DEFAULT_LIMIT, MAX_LIMIT
from stillroom.runs.api.trashed import TrashedOut
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Run
from stillroom.runs.schemas.runs import (
    CloneIn,
    EventList,
    FinishIn,
    GroupOut,
    RunIn,
    RunList,
    RunOut,
    RunPatch,
    WaitingOut,
)
from stillroom.runs.selectors import RunFilter, project_get, run_access, run_page, runs, summaries
from stillroom.runs.services import control
from stillroom.runs.services.submit import Request, body_hash, external_run_start, run_again, run_submit
from stillroom.runs.services.trash import item_trash
from stillroom.tenants.callers import Member
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["runs"])
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


def _out(member: Member, run: Run) -> dict[str, object]:
    fresh = runs().get(id=run.id)
    return RunOut.of(fresh, summaries([run.id])[run.id], member.can)


@door.post("/orgs/{org}/projects/{project}/runs", needs=Can.RUN_SUBMIT, response={201: RunOut})
def run_create(request: DoorRequest, org: str, project: str, payload: RunIn, key: Key = None) -> object:
    """Submit a run. With `external: true` the caller logs it itself and it starts in RUNNING."""
    with request.door.org(org) as member:
        place = project_get(project)
        if payload.external:
            if payload.recipe:
                raise Invalid(
                    "An external run has no recipe.", fields={"recipe": "Leave it out when external is true."}
                )
            run = external_run_start(
                member=member,
                project=place,
                name=payload.name,
                tags=payload.tags,
                notes=payload.notes,
                lease_s=settings.ENV.lease_s * 5,
                spec=payload.spec,
                parent=payload.parent,
                idempotency_key=key,
                fingerprint=body_hash({"project": place.id, **payload.model_dump(mode="json")}),
            )
        else:
            wanted = Request(
                recipe=payload.recipe,
                spec=payload.spec,
                seed=payload.seed,
                name=payload.name,
                tags=payload.tags,
                notes=payload.notes,
                resources=payload.resources.parsed(),
                priority=payload.priority,
                max_attempts=payload.max_attempts,
                parent=payload.parent,
            )
            fingerprint = body_hash({"project": place.id, **payload.model_dump(mode="json")})
            run = run_submit(member=member, project=place, request=wanted, idempotency_key=key, fingerprint=fingerprint)
        return Status(201, _out(member, run))


@door.get("/orgs/{org}/projects/{project}/runs", needs=Can.RUN_READ, response=RunList)
def run_list(
    request: DoorRequest,
    org: str,
    project: str,
    q: str = "",
    state: Annotated[list[str], Query()] = [],  # noqa: B006  (ninja reads the default, nobody mutates it)
    recipe: str = "",
    study: str = "",
    spec_hash: str = "",
    sort: str = "-created_at",
    columns: str = "",
    group: str = "",
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> object:
    """Runs of a project: searched, sorted, paged; `group=spec` adds groups of everything but the seed."""
    with request.door.org(org) as member:
        wanted = RunFilter(q, tuple(state), recipe, study, spec_hash, project_get(project), sort)
        return _page(member, wanted, columns, group, cursor, limit)


@door.get("/runs", needs=Can.RUN_READ, response=RunList)
def run_list_org(
    request: DoorRequest,
    org: str | None = None,
    q: str = "",
    state: Annotated[list[str], Query()] = [],  # noqa: B006  (ninja reads the default, nobody mutates it)
    recipe: str = "",
    sort: str = "-created_at",
    columns: str = "",
    group: str = "",
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> object:
    """Runs of all the organisation's projects."""
    with request.door.org(org) as member:
        return _page(member, RunFilter(q, tuple(state), recipe, sort=sort), columns, group, cursor, limit)


def _page(member: Member, wanted: RunFilter, columns: str, group: str, cursor: str | None, limit: int) -> object:
    if group not in ("", "spec"):
        raise Invalid("Runs are grouped by spec or not at all.", fields={"group": "Use spec."})
    keys = [key for key in columns.split(",") if key]
    page = run_page(wanted, columns=keys, cursor=cursor, limit=max(1, min(limit, MAX_LIMIT)), grouped=bool(group))
    return {
        "items": [RunOut.of(run, page.metrics.get(run.id, {}), member.can) for run in page.items],
        "next_cursor": page.next_cursor,
        "total": page.total,
        "groups": [GroupOut.of(found) for found in page.groups] if group else None,
    }


@door.get("/runs/{run}", needs=Can.RUN_READ, response=RunOut)
def run_get(request: DoorRequest, run: str) -> object:
    """One run with the summaries of all its metrics."""
    with run_access(request.door, run) as (member, found):
        return RunOut.of(found, summaries([found.id])[found.id], member.can)


@door.patch("/runs/{run}", needs=Can.RUN_EDIT, response=RunOut)
def run_patch(request: DoorRequest, run: str, payload: RunPatch) -> object:
    """Change name, tags or notes; of an external run also its configuration, `spec`."""
    with run_access(request.door, run) as (member, found):
        changes = payload.model_dump(exclude_none=True)
        if "spec" in changes and not found.external:
            message = "The spec of a managed run is fixed. Clone the run with another one."
            raise Invalid(message, fields={"spec": "Only the configuration of an external run may change."})
        if changes:
            control.run_edit(run=found, changes=changes)
        return _out(member, found)


@door.delete("/runs/{run}", needs=Can.RUN_EDIT, response=TrashedOut)
def run_delete(request: DoorRequest, run: str) -> object:
    """Move a run that has ended to the trash."""
    with run_access(request.door, run) as (member, found):
        return TrashedOut.of(item_trash(item=found, actor=member.email))


@door.post("/runs/{run}/cancel", needs=Can.RUN_CONTROL, response=RunOut)
def run_cancel(request: DoorRequest, run: str) -> object:
    """Stop a run for good; it saves a last checkpoint."""
    with run_access(request.door, run) as (member, found):
        return _out(member, control.run_cancel(run=found, actor=member.email))


@door.post("/runs/{run}/pause", needs=Can.RUN_CONTROL, response=RunOut)
def run_pause(request: DoorRequest, run: str) -> object:
    """Hold a run; it saves a checkpoint and can be released later."""
    with run_access(request.door, run) as (member, found):
        return _out(member, control.run_pause(run=found, actor=member.email))


@door.post("/runs/{run}/resume", needs=Can.RUN_CONTROL, response=RunOut)
def run_resume(request: DoorRequest, run: str) -> object:
    """Release a held run into the queue."""
    with run_access(request.door, run) as (member, found):
        return _out(member, control.run_resume(run=found, actor=member.email))


@door.post("/runs/{run}/retry", needs=Can.RUN_SUBMIT, response={201: RunOut})
def run_retry(request: DoorRequest, run: str) -> object:
    """A new run with the same spec and seed."""
    with run_access(request.door, run) as (member, found):
        if not found.is_terminal:
            raise Conflict(
                f"Only a run that has ended can be retried; this one is {found.state}.", code="run.not_ended"
            )
        return Status(201, _out(member, run_again(member=member, run=found)))


@door.post("/runs/{run}/clone", needs=Can.RUN_SUBMIT, response={201: RunOut})
def run_clone(request: DoorRequest, run: str, payload: CloneIn) -> object:
    """A new run from this one with another spec, seed or name."""
    with run_access(request.door, run) as (member, found):
        made = run_again(member=member, run=found, spec=payload.spec, seed=payload.seed, name=payload.name)
        return Status(201, _out(member, made))


@door.post("/runs/{run}/heartbeat", needs=Can.RUN_WRITE, response={204: None})
def run_heartbeat(request: DoorRequest, run: str) -> object:
    """Keep an external run alive."""
    with run_access(request.door, run) as (_, found):
        if not control.external_run_alive(run_id=found.id, lease_s=settings.ENV.lease_s * 5):
            raise Conflict("This run is not an external run that still goes on.", code="run.ended")
        return Status(204, None)


@door.post("/runs/{run}/finish", needs=Can.RUN_WRITE, response=RunOut)
def run_finish(request: DoorRequest, run: str, payload: FinishIn) -> object:
    """End an external run."""
    with run_access(request.door, run) as (member, found):
        if not found.external:
            raise Conflict("Only a run that a script logs is ended by a script. Use cancel.", code="run.managed")
        control.external_run_end(run=found, state=State(payload.state), actor=member.email)
        return _out(member, found)


@door.get("/runs/{run}/events", needs=Can.RUN_READ, response=EventList)
def run_events(request: DoorRequest, run: str) -> object:
    """The run's history, oldest first, and its attempts."""
    with run_access(request.door, run) as (_, found):
        return {
            "items": list(found.events.order_by("id")[:1000]),
            "attempts": [
                {
                    "epoch": row.epoch,
                    "number": row.number,
                    "node": row.node_name,
                    "resume_step": row.resume_step,
                    "assigned_at": row.assigned_at,
                    "started_at": row.started_at,
                    "ended_at": row.ended_at,
                    "outcome": row.outcome,
                }
                for row in found.attempts.order_by("epoch")
            ],
        }


@door.get("/runs/{run}/why-waiting", needs=Can.RUN_READ, response={200: WaitingOut | None})
def run_why_waiting(request: DoorRequest, run: str) -> object:
    """The binding constraint of a run that waits; null for one that does not."""
    with run_access(request.door, run) as (member, found):
        return RunOut.of(found, {}, member.can)["waiting"]
