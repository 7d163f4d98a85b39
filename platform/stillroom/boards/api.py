"""Doors to leaderboards."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from ninja import Query, Status

from stillroom.boards.models import Benchmark
from stillroom.boards.schemas import (
    BenchmarkIn,
    BenchmarkList,
    BenchmarkOut,
    BenchmarkPatch,
    RankingOut,
    ScoresOut,
    scores_out,
)
from stillroom.boards.scoring import R_MAX
from stillroom.boards.selectors import Entry, benchmark_access, ranking, workloads
from stillroom.boards.services import benchmark_create, benchmark_delete, benchmark_update
from stillroom.core.errors import Invalid, NotFound
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["leaderboards"])


@door.get("/benchmarks", needs=Can.RUN_READ, response=BenchmarkList)
def benchmark_list(request: DoorRequest, org: str | None = None) -> object:
    """The organisation's leaderboards."""
    with request.door.org(org):
        return {"items": [_out(row) for row in Benchmark.objects.select_related("tenant").order_by("name", "-version")]}


@door.post("/benchmarks", needs=Can.BENCHMARK_MANAGE, response={201: BenchmarkOut})
def benchmark_make(request: DoorRequest, payload: BenchmarkIn, org: str | None = None) -> object:
    """Make a leaderboard; the same name again makes its next version."""
    with request.door.org(org) as member:
        row = benchmark_create(member=member, values=payload.model_dump())
        return Status(201, _out(Benchmark.objects.select_related("tenant").get(id=row.id)))


@door.get("/benchmark-scores", needs=Can.RUN_READ, response=ScoresOut)
def benchmark_scores(
    request: DoorRequest,
    benchmark: Annotated[list[str], Query(min_length=1, max_length=50)],
    method: Annotated[str, Query(max_length=200, pattern=r"^[A-Za-z_][\w.]*$")] = "optimizer.kind",
    r_max: Annotated[float, Query(gt=1, le=1000)] = R_MAX,
    reference: Annotated[str | None, Query(max_length=200)] = None,
    org: str | None = None,
) -> object:
    """Methods scored over several leaderboards by the area under their performance profiles, steps to target as time.

    `method` is the path of the spec by which methods are told apart; specs that differ elsewhere are trials of one
    method, seeds are its studies. `reference` is a method against which the speed of the others is given. Two versions
    of one leaderboard are refused: their numbers do not compare.
    """
    with request.door.org(org):
        rows = {row.id: row for row in Benchmark.objects.filter(id__in=benchmark)}
        if not all(one in rows for one in benchmark):
            raise NotFound("This leaderboard")
        found = workloads([rows[one] for one in dict.fromkeys(benchmark)], method=method)
    if reference is not None and all(reference not in workload.steps for workload in found):
        raise Invalid("No run of these leaderboards is of the reference.", fields={"reference": "Not a method here."})
    return scores_out(found, r_max, reference)


@door.get("/benchmarks/{benchmark}", needs=Can.RUN_READ, response=RankingOut)
def benchmark_get(request: DoorRequest, benchmark: str) -> object:
    """A leaderboard with its ranking, computed from the runs as they are now."""
    with benchmark_access(request.door, benchmark) as (_, found):
        return {**_out(found), "entries": [_entry(found, entry) for entry in ranking(found)]}


@door.patch("/benchmarks/{benchmark}", needs=Can.BENCHMARK_MANAGE, response=BenchmarkOut)
def benchmark_change(request: DoorRequest, benchmark: str, payload: BenchmarkPatch) -> object:
    """Change the description or the columns, or set the target that is still missing; what is ranked stays frozen."""
    with benchmark_access(request.door, benchmark) as (member, found):
        return _out(benchmark_update(member=member, benchmark=found, values=payload.model_dump(exclude_unset=True)))


@door.delete("/benchmarks/{benchmark}", needs=Can.BENCHMARK_MANAGE, response={204: None})
def benchmark_remove(request: DoorRequest, benchmark: str) -> object:
    """Remove a leaderboard; its runs stay."""
    with benchmark_access(request.door, benchmark) as (member, found):
        benchmark_delete(member=member, benchmark=found)
        return Status(204, None)


def _out(row: Benchmark) -> dict[str, Any]:
    fields = ("id", "name", "description", "recipe", "frozen", "metric", "reduce", "goal", "target")
    more = ("columns", "seeds", "version")
    return {
        **{name: getattr(row, name) for name in (*fields, *more)},
        "org": row.tenant.slug,
        "created_at": row.created_at,
    }


def _entry(benchmark: Benchmark, entry: Entry) -> dict[str, Any]:
    standing, found = entry.standing, entry.standing.interval
    return {
        "label": entry.label,
        "spec_hash": standing.key,
        "spec": entry.differences,
        "n": standing.n,
        "failed": standing.failed,
        "mean": found.mean if found else None,
        "lo": found.low if found and found.half_width is not None else None,
        "hi": found.high if found and found.half_width is not None else None,
        "rank": standing.rank,
        "reached": standing.reached,
        "steps_to_target": asdict(standing.steps_to_target) if standing.steps_to_target else None,
        "values": list(standing.values),
        "columns": {key: asdict(value) if value else None for key, value in entry.columns.items()},
        "runs": entry.runs,
        "complete": standing.n >= benchmark.seeds,
    }
