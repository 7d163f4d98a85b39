"""Doors to projects."""

from __future__ import annotations

from ninja import Status

from stillroom.runs.api.trashed import TrashedOut
from stillroom.runs.schemas.projects import ProjectIn, ProjectList, ProjectOut, ProjectPatch
from stillroom.runs.selectors import project_get, projects
from stillroom.runs.services.submit import project_create
from stillroom.runs.services.trash import item_trash
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["projects"])


@door.get("/orgs/{org}/projects", needs=Can.RUN_READ, response=ProjectList)
def project_list(request: DoorRequest, org: str) -> object:
    """The organisation's projects."""
    with request.door.org(org):
        return {"items": [ProjectOut.of(project) for project in projects()]}


@door.post("/orgs/{org}/projects", needs=Can.RUN_SUBMIT, response={201: ProjectOut})
def project_make(request: DoorRequest, org: str, payload: ProjectIn) -> object:
    """Make a project."""
    with request.door.org(org) as member:
        project = project_create(member=member, slug=payload.slug, name=payload.name, description=payload.description)
        return Status(201, ProjectOut.of(project))


@door.get("/orgs/{org}/projects/{project}", needs=Can.RUN_READ, response=ProjectOut)
def project_detail(request: DoorRequest, org: str, project: str) -> object:
    """One project."""
    with request.door.org(org):
        found = project_get(project)
        return ProjectOut.of(projects().get(id=found.id))


@door.patch("/orgs/{org}/projects/{project}", needs=Can.PROJECT_MANAGE, response=ProjectOut)
def project_change(request: DoorRequest, org: str, project: str, payload: ProjectPatch) -> object:
    """Change name or description."""
    with request.door.org(org):
        found = project_get(project)
        for name, value in payload.model_dump(exclude_none=True).items():
            setattr(found, name, value)
        found.save(update_fields=["name", "description"])
        return ProjectOut.of(projects().get(id=found.id))


@door.delete("/orgs/{org}/projects/{project}", needs=Can.PROJECT_MANAGE, response=TrashedOut)
def project_delete(request: DoorRequest, org: str, project: str) -> object:
    """Move a project with all that is in it to the trash; its name is free at once."""
    with request.door.org(org) as member:
        return TrashedOut.of(item_trash(item=project_get(project), actor=member.email))
