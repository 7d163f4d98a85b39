"""Shapes on the wire of benchmarks and rankings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import AfterValidator, Field, StringConstraints

from stillroom.boards.scoring import profile, ratios, scores, speedups
from stillroom.boards.selectors import Workload
from stillroom.runs.schemas.studies import MeanOut
from stillroom.tenants.schemas import StrictSchema

Path = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z_][\w.]*$")]


Metric = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _distinct(columns: list[str]) -> list[str]:
    if len(set(columns)) < len(columns):
        raise ValueError("A metric is named twice.")
    return columns


Columns = Annotated[list[Metric], Field(max_length=5), AfterValidator(_distinct)]


class BenchmarkIn(StrictSchema):
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    description: Annotated[str, StringConstraints(max_length=5000)] = ""
    recipe: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    frozen: Annotated[dict[Path, Any], Field(max_length=100)]
    metric: Metric
    reduce: Literal["last", "min", "max"] = "last"
    goal: Literal["min", "max"]
    target: float | None = None
    columns: Columns = []
    seeds: Annotated[int, Field(ge=1, le=100)] = 3


class BenchmarkPatch(StrictSchema):
    description: Annotated[str, StringConstraints(max_length=5000)] | None = None
    target: float | None = None
    columns: Columns | None = None


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
    columns: list[str]
    seeds: int
    version: int
    created_at: datetime


class BenchmarkList(Schema):
    items: list[BenchmarkOut]
    next_cursor: str | None = None


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
    steps_to_target: MeanOut | None
    values: list[float]
    columns: dict[str, MeanOut | None]
    runs: list[str]
    complete: bool


class RankingOut(BenchmarkOut):
    entries: list[EntryOut]


class MethodOnOut(Schema):
    """A method on one leaderboard. `steps` and `ratio` are null where it never arrived."""

    steps: float | None
    ratio: float | None
    trials: int
    studies: int


class WorkloadOut(Schema):
    benchmark: str
    name: str
    methods: dict[str, MethodOnOut]


class CornerOut(Schema):
    tau: float
    share: float


class MethodOut(Schema):
    """`speedup`: geometric mean of the reference's steps over the method's, where both arrived; null without any."""

    method: str
    score: float
    speedup: float | None
    profile: list[CornerOut]


class ScoresOut(Schema):
    r_max: float
    methods: list[MethodOut]
    workloads: list[WorkloadOut]


def scores_out(found: Sequence[Workload], r_max: float, reference: str | None = None) -> dict[str, Any]:
    """Best score first. reference: one of the methods."""
    times = {workload.benchmark.id: workload.steps for workload in found}
    table, corners = ratios(times), profile(times, r_max=r_max)
    faster = speedups(times, reference=reference) if reference is not None else {}
    ranked = sorted(scores(times, r_max=r_max).items(), key=lambda item: (-item[1], item[0]))
    return {
        "r_max": r_max,
        "methods": [
            {
                "method": method,
                "score": score,
                "speedup": faster.get(method),
                "profile": [{"tau": tau, "share": share} for tau, share in corners[method]],
            }
            for method, score in ranked
        ],
        "workloads": [
            {
                "benchmark": workload.benchmark.id,
                "name": workload.benchmark.name,
                "methods": {
                    method: {
                        "steps": _finite(workload.steps.get(method, math.inf)),
                        "ratio": _finite(table[workload.benchmark.id][method]),
                        "trials": workload.trials.get(method, 0),
                        "studies": workload.studies.get(method, 0),
                    }
                    for method, _ in ranked
                },
            }
            for workload in found
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
