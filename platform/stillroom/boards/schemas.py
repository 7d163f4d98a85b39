"""Shapes on the wire of benchmarks and rankings."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import Field, StringConstraints

from stillroom.tenants.schemas import StrictSchema

Path = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z_][\w.]*$")]


class BenchmarkIn(StrictSchema):
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    description: Annotated[str, StringConstraints(max_length=5000)] = ""
    recipe: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    frozen: Annotated[dict[Path, Any], Field(max_length=100)]
    metric: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    reduce: Literal["last", "min", "max"] = "last"
    goal: Literal["min", "max"]
    target: float | None = None
    seeds: Annotated[int, Field(ge=1, le=100)] = 3


class BenchmarkPatch(StrictSchema):
    description: Annotated[str, StringConstraints(max_length=5000)] | None = None
    target: float | None = None


class BenchmarkOut(Schema):
    id: str
    name: str
    description: str
    org: str
    recipe: str
    frozen: dict[str, Any]
    metric: str
    reduce: str
    goal: str
    target: float | None
    seeds: int
    version: int
    created_at: datetime


class BenchmarkList(Schema):
    items: list[BenchmarkOut]
    next_cursor: str | None = None


class StepsOut(Schema):
    mean: float
    half_width: float | None
    n: int


class EntryOut(Schema):
    label: str
    spec_hash: str
    spec: dict[str, Any]
    n: int
    failed: int
    mean: float | None
    lo: float | None
    hi: float | None
    rank: tuple[int, int] | None
    reached: int | None
    steps_to_target: StepsOut | None
    runs: list[str]
    complete: bool


class RankingOut(BenchmarkOut):
    entries: list[EntryOut]
