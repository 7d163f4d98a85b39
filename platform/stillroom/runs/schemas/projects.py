"""Projects on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from ninja import Schema
from pydantic import Field

from stillroom.runs.models import Project
from stillroom.runs.schemas.fields import Slug
from stillroom.tenants.schemas import StrictSchema


class ProjectIn(StrictSchema):
    slug: Slug
    name: Annotated[str, Field(max_length=100)] = ""
    description: Annotated[str, Field(max_length=2000)] = ""


class ProjectPatch(StrictSchema):
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None


class ProjectOut(Schema):
    slug: str
    name: str
    description: str
    runs: int
    active: int

    @staticmethod
    def of(project: Project) -> dict[str, Any]:
        return {
            "slug": project.slug,
            "name": project.name,
            "description": project.description,
            "runs": getattr(project, "run_count", 0),
            "active": getattr(project, "active_count", 0),
        }


class ProjectList(Schema):
    items: list[ProjectOut]
    next_cursor: str | None = None
