"""Shapes on the wire of recipes, projects, studies and runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import Field, StringConstraints

from models_core.catalog import Recipe, StudyTemplate
from models_core.events import encode_float
from stillroom.runs.models import Project, Run, Series, Study
from stillroom.runs.selectors import RunGroup, allowed_actions
from stillroom.runs.services.submit import Resources
from stillroom.tenants.policies import Can
from stillroom.tenants.schemas import StrictSchema

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Label = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
TagValue = Annotated[str, StringConstraints(max_length=8000, pattern=r"^[^\x00]*$")]
Tags = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=r"^[^\x00]*$")], TagValue],
    Field(max_length=1000),
]
Notes = Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")]
Number = float | str
"""A float, or "NaN", "Infinity", "-Infinity"."""


class ExampleOut(Schema):
    title: str
    spec: dict[str, Any]
    cost_s: float


class MetricInfoOut(Schema):
    key: str
    unit: str
    goal: Literal["min", "max"] | None
    help: str
    primary: bool


class TemplateArmOut(Schema):
    name: str
    spec: dict[str, Any]


class TemplateOut(Schema):
    """A study that can be launched as it is; `spec` has every default written out, an arm's `spec` what it changes."""

    name: str
    title: str
    help: str
    spec: dict[str, Any]
    arms: list[TemplateArmOut]
    seeds: list[int]
    baseline: str
    metric: str
    x: str
    cost_s: float

    @staticmethod
    def of(recipe: Recipe, template: StudyTemplate) -> dict[str, Any]:
        return {
            "name": template.name,
            "title": template.title,
            "help": template.help,
            "spec": recipe.parse(template.spec).model_dump(mode="json"),
            "arms": [{"name": name, "spec": spec} for name, spec in template.arms.items()],
            "seeds": template.seeds,
            "baseline": template.baseline or next(iter(template.arms)),
            "metric": template.metric or recipe.primary_metric.key,
            "x": template.x or "step",
            "cost_s": template.cost_s,
        }


class RecipeOut(Schema):
    name: str
    version: str
    title: str
    description: str
    family: str
    examples: list[ExampleOut]
    templates: list[TemplateOut]
    metrics: list[MetricInfoOut]


class RecipeDetail(RecipeOut):
    form_schema: dict[str, Any] = Field(serialization_alias="schema")


class RecipeList(Schema):
    items: list[RecipeOut]
    next_cursor: str | None = None


class SpecIn(StrictSchema):
    spec: dict[str, Any]


class SpecOut(Schema):
    spec: dict[str, Any]
    spec_hash: str


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


class ResourcesIn(StrictSchema):
    kind: Annotated[str, Field(min_length=1, max_length=64)] = "cpu"
    devices: Annotated[int, Field(ge=1, le=4096, strict=True)] = 1
    time_limit_s: Annotated[int, Field(ge=10, le=30 * 86400, strict=True)] = 3600

    def parsed(self) -> Resources:
        return Resources(self.kind, self.devices, self.time_limit_s)


class RunIn(StrictSchema):
    recipe: Annotated[str, Field(max_length=64)] = ""
    spec: dict[str, Any] = {}
    seed: Seed = 0
    name: Label = ""
    tags: Tags = {}
    notes: Notes = ""
    resources: ResourcesIn = ResourcesIn()
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    parent: Annotated[str, Field(max_length=16)] | None = None
    external: bool = False


class RunPatch(StrictSchema):
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] | None = None
    tags: Tags | None = None
    notes: Notes | None = None
    spec: dict[str, Any] | None = None


class CloneIn(StrictSchema):
    spec: dict[str, Any] | None = None
    seed: Seed | None = None
    name: Label = ""


class FinishIn(StrictSchema):
    state: Literal["SUCCEEDED", "FAILED", "CANCELLED"]


class ReopenIn(StrictSchema):
    writer: Annotated[str, StringConstraints(min_length=8, max_length=64, pattern=r"^[\w.-]+$")]
    after_epoch: Annotated[int, Field(ge=1, strict=True)] | None = None
    step: Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)] | None = None


class ReopenOut(Schema):
    epoch: int
    last_seq: int
    previous_epoch: int
    previous_last_seq: int


class ReasonOut(Schema):
    code: str
    message: str


class ProgressOut(Schema):
    step: int
    total: int
    note: str = ""


class WaitingOut(Schema):
    code: str
    message: str
    rank: int | None


class ResourcesOut(Schema):
    kind: str
    devices: int
    time_limit_s: int


class SummaryOut(Schema):
    last: Number | None
    min: Number | None
    max: Number | None
    last_step: int | None
    n: int

    @staticmethod
    def of(row: Series) -> dict[str, Any]:
        return {
            "last": None if row.last is None else encode_float(row.last),
            "min": row.low,
            "max": row.high,
            "last_step": row.last_step,
            "n": row.n,
        }


class RunOut(Schema):
    id: str
    org: str
    project: str
    study: str | None
    arm: str
    name: str
    recipe: str
    recipe_version: str
    spec: dict[str, Any]
    spec_hash: str
    seed: int
    tags: dict[str, str]
    notes: str
    external: bool
    state: str
    intent: str
    reason: ReasonOut | None
    attempt: int
    max_attempts: int
    epoch: int
    priority: int
    resources: ResourcesOut
    progress: ProgressOut | None
    waiting: WaitingOut | None
    metrics: dict[str, SummaryOut]
    parent: str | None
    node: str
    created_by: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    can: list[str]

    @staticmethod
    def of(run: Run, metrics: dict[str, Series], can: frozenset[Can]) -> dict[str, Any]:
        """The rendering of a run that `selectors.runs()` gave."""
        waits = run.state in ("QUEUED", "HELD") and run.waiting_code
        return {
            "id": run.id,
            "org": run.tenant.slug,
            "project": run.project.slug,
            "study": run.study_id,
            "arm": run.arm,
            "name": run.name,
            "recipe": run.recipe,
            "recipe_version": run.recipe_version,
            "spec": run.spec,
            "spec_hash": run.spec_hash,
            "seed": run.seed,
            "tags": run.tags,
            "notes": run.notes,
            "external": run.external,
            "state": run.state,
            "intent": run.intent,
            "reason": {"code": run.reason_code, "message": run.reason} if run.reason_code else None,
            "attempt": run.attempt,
            "max_attempts": run.max_attempts,
            "epoch": run.epoch,
            "priority": run.priority,
            "resources": {"kind": run.req_kind, "devices": run.req_devices, "time_limit_s": run.time_limit_s},
            "progress": run.fence.progress,
            "waiting": {"code": run.waiting_code, "message": run.waiting, "rank": run.waiting_rank} if waits else None,
            "metrics": {key: SummaryOut.of(row) for key, row in metrics.items()},
            "parent": run.parent_id,
            "node": run.node_name,
            "created_by": run.created_by.get_short_name() if run.created_by else None,
            "created_at": run.created_at,
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "can": allowed_actions(run, can),
        }


class AggregateOut(Schema):
    mean: float
    half_width: float | None
    n: int


class GroupOut(Schema):
    spec_hash: str
    recipe: str
    label: str
    n: int
    states: dict[str, int]
    metrics: dict[str, AggregateOut]
    runs: list[str]

    @staticmethod
    def of(group: RunGroup) -> dict[str, Any]:
        return {
            "spec_hash": group.spec_hash,
            "recipe": group.recipe,
            "label": group.label,
            "n": len(group.runs),
            "states": group.states,
            "metrics": group.metrics,
            "runs": group.runs,
        }


class RunList(Schema):
    items: list[RunOut]
    next_cursor: str | None
    total: int
    groups: list[GroupOut] | None = None


class EventOut(Schema):
    id: int
    at: datetime
    epoch: int
    actor: str
    from_state: str
    to_state: str
    code: str
    message: str
    detail: dict[str, Any]


class AttemptOut(Schema):
    epoch: int
    number: int
    node: str
    resume_step: int | None
    assigned_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str


class EventList(Schema):
    items: list[EventOut]
    attempts: list[AttemptOut]
    next_cursor: str | None = None


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


class SuggestionOut(Schema):
    insert: str
    kind: str
    help: str


class CompletionOut(Schema):
    start: int
    items: list[SuggestionOut]
