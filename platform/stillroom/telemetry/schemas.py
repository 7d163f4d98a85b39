"""Shapes on the wire of ingest answers, charts, logs and artifacts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from ninja import Schema
from pydantic import Field

from stillroom.runs.schemas import Number, SummaryOut
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
