"""Runs on the wire: what is asked for, what is shown, and their history."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import Field, StringConstraints

from models_core.events import encode_float
from stillroom.runs.models import Run, Series
from stillroom.runs.schemas.fields import Label, Notes, Number, Seed, Tags
from stillroom.runs.selectors import RunGroup, allowed_actions
from stillroom.runs.services.submit import Resources
from stillroom.tenants.policies import Can
from stillroom.tenants.schemas import StrictSchema


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
