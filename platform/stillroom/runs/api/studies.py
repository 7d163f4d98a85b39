"""Doors to studies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from ninja import Query, Status

from stillroom.core.pagination import DEFAULT_LIMIT, MAX_LIMIT, continued, decode_cursor, encode_cursor
from stillroom.runs.api.runs import Key
from stillroom.runs.api.trashed import TrashedOut
from stillroom.runs.catalog import spec_merge, template_get
from stillroom.runs.models import Study
from stillroom.runs.report import Reduce, study_report
from stillroom.runs.schemas.studies import StoppedOut, StudyIn, StudyList, StudyOut, StudyReportOut
from stillroom.runs.selectors import project_get, study_access
from stillroom.runs.services.control import study_cancel
from stillroom.runs.services.submit import Request, body_hash, study_submit
from stillroom.runs.services.trash import item_trash
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["studies"])


@door.post("/orgs/{org}/projects/{project}/studies", needs=Can.RUN_SUBMIT, response={201: StudyOut})
def study_create(request: DoorRequest, org: str, project: str, payload: StudyIn, key: Key = None) -> object:
    """Submit arms times seeds of one recipe; each arm's spec is laid over the base spec.

    A template gives the base, arms and seeds that the request leaves out; the request's spec is laid over its base.
    """
    plan = plan_of(payload)
    with request.door.org(org) as member:
        place = project_get(project)
        base = Request(
            recipe=payload.recipe,
            spec=plan.spec,
            tags=payload.tags,
            notes=payload.notes,
            resources=payload.resources.parsed(),
            priority=payload.priority,
            max_attempts=payload.max_attempts,
            parent=payload.parent,
        )
        study = study_submit(
            member=member,
            project=place,
            name=payload.name,
            base=base,
            arms=plan.arms,
            seeds=plan.seeds,
            template=payload.template,
            idempotency_key=key,
            fingerprint=body_hash({"project": place.id, **payload.model_dump(mode="json")}),
        )
        return Status(201, StudyOut.of(Study.objects.select_related("project", "tenant").get(id=study.id)))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study runs."""

    spec: object
    arms: list[tuple[str, dict[str, Any]]]
    seeds: list[int]


def plan_of(payload: StudyIn) -> Plan:
    """The request with what its template adds."""
    arms = [(arm.name, arm.spec) for arm in payload.arms]
    if not payload.template:
        return Plan(payload.spec, arms or [("", {})], payload.seeds or [0])
    template = template_get(payload.recipe, payload.template)
    return Plan(
        spec_merge(payload.recipe, template.spec, payload.spec),
        arms or [(name, dict(spec)) for name, spec in template.arms.items()],
        payload.seeds or list(template.seeds),
    )


@door.get("/orgs/{org}/projects/{project}/studies", needs=Can.RUN_READ, response=StudyList)
def study_list(
    request: DoorRequest, org: str, project: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> object:
    """A project's studies, newest first."""
    limit = max(1, min(limit, MAX_LIMIT))
    with request.door.org(org):
        rows = Study.objects.select_related("project", "tenant").filter(project=project_get(project))
        with continued(cursor):
            if cursor:
                at, last = decode_cursor(cursor, length=2)
                rows = rows.filter(created_at__lte=at).exclude(created_at=at, id__gte=last)
            page = list(rows.order_by("-created_at", "-id")[: limit + 1])
        more = len(page) > limit
        last_row = page[limit - 1] if more else None
        return {
            "items": [StudyOut.of(study) for study in page[:limit]],
            "next_cursor": encode_cursor([last_row.created_at.isoformat(), last_row.id]) if last_row else None,
        }


@door.get("/studies/{study}", needs=Can.RUN_READ, response=StudyOut)
def study_get(request: DoorRequest, study: str) -> object:
    """One study."""
    with study_access(request.door, study) as (_, found):
        return StudyOut.of(found)


@door.get("/studies/{study}/report", needs=Can.RUN_READ, response=StudyReportOut)
def study_report_get(
    request: DoorRequest,
    study: str,
    metric: Annotated[str, Query(max_length=256)] = "",
    baseline: Annotated[str, Query(max_length=200)] = "",
    reduce: Reduce = "last",
) -> object:
    """What a study found by one metric: means with 95 % intervals, and differences to a baseline paired by seed.

    `metric` and `baseline` are those of the study's template when left out, else the recipe's primary metric and the
    first arm. Runs that succeeded count; computed from the runs as they are now.
    """
    with study_access(request.door, study) as (_, found):
        report = study_report(found, metric=metric, baseline=baseline, reduce=reduce)
        return {"study": found.id, "name": found.name, "recipe": found.recipe, "reduce": reduce, **asdict(report)}


@door.post("/studies/{study}/cancel", needs=Can.RUN_CONTROL, response=StoppedOut)
def study_stop(request: DoorRequest, study: str) -> object:
    """Cancel every run of the study that has not ended."""
    with study_access(request.door, study) as (member, found):
        return {"stopped": study_cancel(study=found, member=member)}


@door.delete("/studies/{study}", needs=Can.RUN_EDIT, response=TrashedOut)
def study_delete(request: DoorRequest, study: str) -> object:
    """Move a study with its runs, which have all ended, to the trash."""
    with study_access(request.door, study) as (member, found):
        return TrashedOut.of(item_trash(item=found, actor=member.email))
