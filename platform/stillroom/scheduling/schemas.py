"""Shapes on the wire of agents, nodes, quotas and usage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from ninja import Schema
from pydantic import Field, StringConstraints

from stillroom.runs.lifecycle import Outcome
from stillroom.tenants.schemas import StrictSchema

Plain = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]
Epoch = Annotated[int, Field(ge=0, lt=2**63)]


class DeviceIn(StrictSchema):
    kind: Id
    index: Annotated[int, Field(ge=0, le=100_000)]
    name: Plain = ""
    memory_bytes: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class AttachIn(StrictSchema):
    incarnation: Id
    hostname: Plain = ""
    version: Annotated[str, StringConstraints(max_length=32)] = ""
    devices: Annotated[list[DeviceIn], Field(max_length=4096)]


class AttachOut(Schema):
    node: str
    name: str
    queue: str
    heartbeat_s: int
    lease_s: int
    grace_s: int


class HeldIn(StrictSchema):
    run: Id
    epoch: Epoch


class HeartbeatIn(StrictSchema):
    incarnation: Id
    runs: Annotated[list[HeldIn], Field(max_length=4096)] = []
    leaving: bool = False


class BeatOut(Schema):
    run: str
    epoch: int
    ok: bool
    intent: str
    run_token: str | None


class AssignedOut(Schema):
    run: str
    epoch: int


class HeartbeatOut(Schema):
    runs: list[BeatOut]
    assigned: list[AssignedOut]
    draining: bool
    server_time: datetime


class AssignedList(Schema):
    items: list[AssignedOut]


class ClaimIn(StrictSchema):
    epoch: Epoch
    incarnation: Id


class ClaimedDevice(Schema):
    kind: str
    index: int


class CheckpointFile(StrictSchema):
    path: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00/\\]*$")]
    size_bytes: Annotated[int, Field(ge=0, lt=2**63)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ResumeOut(Schema):
    step: int
    epoch: int
    files: list[CheckpointFile]


class ClaimOut(Schema):
    run: str
    epoch: int
    org: str
    project: str
    name: str
    recipe: str
    recipe_version: str
    spec: dict[str, Any]
    spec_hash: str
    seed: int
    devices: list[ClaimedDevice]
    spread: int
    resume: ResumeOut | None
    run_token: str
    lease_s: int
    grace_s: int
    time_limit_s: int


class EpochIn(StrictSchema):
    epoch: Epoch


class CheckpointIn(EpochIn):
    step: Annotated[int, Field(ge=0, lt=2**63)]
    files: Annotated[list[CheckpointFile], Field(min_length=1, max_length=1000)]


class ErrorIn(StrictSchema):
    code: Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00]*$")]
    message: Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")] = ""


class AttemptEnd(EpochIn):
    outcome: Outcome
    final_seq: Annotated[int, Field(ge=0, lt=2**63)]
    exit_code: int | None = None
    error: ErrorIn | None = None
    retryable: bool = False


class StateOut(Schema):
    state: str


class DeviceOut(Schema):
    kind: str
    index: int
    name: str
    memory_bytes: int | None
    status: str
    run: str | None


class NodeOut(Schema):
    id: str
    name: str
    status: str
    hostname: str
    version: str
    heartbeat_at: datetime | None
    devices: list[DeviceOut]


class NodeList(Schema):
    items: list[NodeOut]
    next_cursor: str | None = None


class QuotaOut(Schema):
    kind: str
    max_devices: int | None
    in_use: int
    waiting: int
    capacity: int


class QuotaList(Schema):
    items: list[QuotaOut]
    next_cursor: str | None = None


class UsageOut(Schema):
    kind: str
    day: str
    device_seconds: float


class UsageList(Schema):
    items: list[UsageOut]
    next_cursor: str | None = None
