"""Shapes on the wire of ingest answers, charts, logs and artifacts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from ninja import Schema
from pydantic import Field, model_validator

from stillroom.runs.api.trashed import TrashedOut
from stillroom.runs.schemas.fields import Number
from stillroom.runs.schemas.runs import SummaryOut
from stillroom.tenants.schemas import StrictSchema


class StoredOut(Schema):
    last_seq: int
    intent: str
    flush_ms: int


class SeriesOut(SummaryOut):
    key: str


class SeriesList(Schema):
    items: list[SeriesOut]
    next_cursor: str | None = None


class ChartIn(StrictSchema):
    runs: Annotated[list[str], Field(min_length=1, max_length=200)]
    keys: Annotated[list[str], Field(min_length=1, max_length=200)]
    x: Annotated[str, Field(min_length=1, max_length=256)] = "step"
    range: tuple[float, float] | None = None
    max_points: Annotated[int, Field(ge=4, le=20_000)] = 1000
    group: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,199}$")] | None = None
    band: Literal["interval", "stderr"] = "interval"


class NonFiniteOut(Schema):
    step: int
    x: float
    value: str


class ChartSeriesOut(Schema):
    run: str
    key: str
    n: int
    exact: bool
    per_bucket: int
    x: list[float]
    value: list[Number]
    non_finite: list[NonFiniteOut]
    non_finite_n: int


class ChartGroupOut(Schema):
    spec_hash: str
    label: str
    key: str
    x: list[float]
    mean: list[float]
    lo: list[float]
    hi: list[float]
    n: list[int]


class ChartOut(Schema):
    series: list[ChartSeriesOut]
    groups: list[ChartGroupOut]


class LogLineOut(Schema):
    n: int
    time: float
    epoch: int
    level: str
    stream: str
    message: str


class LogList(Schema):
    items: list[LogLineOut]
    next_cursor: str | None


class ArtifactOut(Schema):
    path: str
    size_bytes: int
    sha256: str
    media_type: str
    epoch: int
    created_at: datetime


class ArtifactList(Schema):
    items: list[ArtifactOut]
    next_cursor: str | None = None


class UploadIn(StrictSchema):
    path: Annotated[str, Field(min_length=1, max_length=500)]
    epoch: Annotated[int, Field(ge=1)]
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class UploadOut(Schema):
    id: str
    path: str
    epoch: int
    size_bytes: int
    sha256: str
    done: bool
    offset: int
    parts: dict[int, int]


class OffsetOut(Schema):
    offset: int


class PartOut(Schema):
    number: int
    size_bytes: int


class PreviewOut(Schema):
    """`kind` says which of the other fields are filled."""

    kind: Literal["image", "audio", "text", "table", "none"]
    path: str
    media_type: str
    size_bytes: int
    sha256: str
    reason: str = ""
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    text: str | None = None
    truncated: bool = False
    columns: list[str] | None = None
    rows: list[list[Any]] | None = None
    rows_total: int | None = None


class CheckpointOut(Schema):
    epoch: int
    step: int
    status: str
    size_bytes: int
    files: list[dict[str, Any]]
    created_at: datetime
    kept_by: list[str]


class CheckpointList(Schema):
    items: list[CheckpointOut]
    next_cursor: str | None = None


class StoragePolicyIn(StrictSchema):
    """Null switches a rule off."""

    retain_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    keep_last: Annotated[int, Field(ge=1, le=10_000)] | None = None
    keep_best: Annotated[int, Field(ge=1, le=10_000)] | None = None
    keep_every: Annotated[int, Field(ge=1)] | None = None
    best_metric: Annotated[str, Field(max_length=256)] = ""
    best_goal: Literal["min", "max"] = "min"


class StorageOut(Schema):
    artifact_bytes: int
    artifact_limit_bytes: int
    metric_bytes: int
    log_bytes: int
    trash_items: int
    trash_bytes: int
    trash_days: int
    policy: StoragePolicyIn


class TrashItem(TrashedOut):
    bytes: int


class TrashList(Schema):
    items: list[TrashItem]
    next_cursor: str | None = None


class RestoredOut(Schema):
    id: str
    kind: Literal["project", "study", "run"]


class FreedOut(Schema):
    freed_bytes: int


class TableColumnIn(StrictSchema):
    """`step` goes with `at`: the last point at or before it."""

    key: Annotated[str, Field(min_length=1, max_length=256)]
    what: Literal["last", "min", "max", "n", "at"] = "last"
    step: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None

    @model_validator(mode="after")
    def _step_belongs_to_at(self) -> Self:
        if (self.what == "at") != (self.step is not None):
            raise ValueError("step is given with what = at, and only then")
        return self


class TableIn(StrictSchema):
    columns: Annotated[list[TableColumnIn], Field(max_length=200)] = []
    q: Annotated[str, Field(max_length=1000)] = ""
    state: list[str] = []
    recipe: str = ""
    study: str = ""
    spec_hash: str = ""
    sort: Annotated[str, Field(max_length=300)] = "-created_at"
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class TableRunOut(Schema):
    id: str
    name: str
    state: str
    recipe: str
    arm: str
    seed: int
    study: str | None
    spec_hash: str
    tags: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class TableColumnOut(Schema):
    key: str
    what: str
    step: int | None
    value: list[Number | None]
    at: list[int | None]


class TableOut(Schema):
    runs: list[TableRunOut]
    columns: list[TableColumnOut]
    next_cursor: str | None
    total: int


class KeyList(Schema):
    items: list[str]
    next_cursor: str | None


class ImportedOut(Schema):
    """New ids by the archive's."""

    runs: dict[str, str]
    studies: dict[str, str]
    points: int
    artifacts: int
