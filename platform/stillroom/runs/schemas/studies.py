"""Studies on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import Field, StringConstraints

from stillroom.runs.models import Study
from stillroom.runs.report import Reduce
from stillroom.runs.schemas.fields import Notes, Seed, Tags
from stillroom.runs.schemas.runs import ResourcesIn
from stillroom.tenants.schemas import StrictSchema


class ArmIn(StrictSchema):
    name: Annotated[str, StringConstraints(min_length=1, max_length=150)]
    spec: dict[str, Any] = {}


class StudyIn(StrictSchema):
    name: Annotated[str, StringConstraints(min_length=1, max_length=150)]
    recipe: Annotated[str, Field(min_length=1, max_length=64)]
    template: Annotated[str, Field(max_length=64)] = ""
    spec: dict[str, Any] = {}
    arms: Annotated[list[ArmIn], Field(max_length=100)] = []
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=100)] | None = None
    tags: Tags = {}
    notes: Notes = ""
    resources: ResourcesIn = ResourcesIn()
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    parent: Annotated[str, Field(max_length=16)] | None = None


class ArmOut(Schema):
    name: str
    spec_hash: str


class StudyOut(Schema):
    id: str
    org: str
    project: str
    name: str
    recipe: str
    template: str
    arms: list[ArmOut]
    seeds: list[int]
    runs: list[str]
    states: dict[str, int]
    created_at: datetime

    @staticmethod
    def of(study: Study) -> dict[str, Any]:
        """One query for the study's runs."""
        rows = list(study.runs.order_by("created_at", "id").values_list("id", "state"))
        states: dict[str, int] = {}
        for _, state in rows:
            states[state] = states.get(state, 0) + 1
        return {
            "id": study.id,
            "org": study.tenant.slug,
            "project": study.project.slug,
            "name": study.name,
            "recipe": study.recipe,
            "template": study.template,
            "arms": study.arms,
            "seeds": study.seeds,
            "runs": [run_id for run_id, _ in rows],
            "states": states,
            "created_at": study.created_at,
        }


class StudyList(Schema):
    items: list[StudyOut]
    next_cursor: str | None


class StoppedOut(Schema):
    stopped: int


class MeanOut(Schema):
    """A mean over `n` seeds; `half_width` of its 95 % interval is null for one seed."""

    mean: float
    half_width: float | None
    n: int


class ArmReportOut(Schema):
    """`failed` seeds ended without a finite value; `unfinished` ones have not ended."""

    name: str
    values: dict[int, float]
    failed: int
    unfinished: int
    mean: MeanOut | None
    difference: MeanOut | None


class StudyReportOut(Schema):
    """What a study found by one metric. `difference`: arm minus baseline, paired by seed."""

    study: str
    name: str
    recipe: str
    metric: str
    unit: str
    goal: Literal["min", "max"] | None
    reduce: Reduce
    baseline: str
    arms: list[ArmReportOut]
