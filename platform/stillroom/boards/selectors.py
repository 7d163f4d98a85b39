"""Benchmarks, the runs that match them, and their rankings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillroom.boards.models import Benchmark
from stillroom.boards.ranking import Result, Standing, standings
from stillroom.boards.scoring import time_to_target
from stillroom.core.errors import Invalid, NotFound
from stillroom.core.intervals import Interval, interval
from stillroom.core.tenancy import tenant_tx
from stillroom.runs.lifecycle import TERMINAL, State
from stillroom.runs.models import Run, Series
from stillroom.runs.selectors import summaries
from stillroom.telemetry.selectors.visible import visible_points
from stillroom.tenants.callers import Member
from stillroom.tenants.doors import Passage

MISSING = object()


@contextmanager
def benchmark_access(door: Passage, benchmark_id: str) -> Iterator[tuple[Member, Benchmark]]:
    """Enter the tenant of a benchmark that the caller may see; NotFound for any other id."""
    for member in door.candidates():
        with tenant_tx(member.tenant_id):
            found = Benchmark.objects.select_related("tenant").filter(id=benchmark_id).first()
            if found is not None:
                member.require(door.needs)
                yield member, found
                return
    raise NotFound("This leaderboard")


def spec_value(spec: Any, path: str) -> Any:
    """The value at a dotted path, or MISSING."""
    for part in path.split("."):
        if not isinstance(spec, dict) or part not in spec:
            return MISSING
        spec = spec[part]
    return spec


def flat(spec: Any, prefix: str = "") -> dict[str, Any]:
    """A spec as dotted paths."""
    if not isinstance(spec, dict):
        return {prefix: spec}
    return {
        path: value
        for key, inner in spec.items()
        for path, value in flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }


def matches(benchmark: Benchmark, recipe: str, spec: Any) -> bool:
    """Whether a run of that recipe and spec enters the benchmark."""
    return benchmark.recipe == recipe and all(
        spec_value(spec, path) == value for path, value in benchmark.frozen.items()
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a ranking: its standing, what distinguishes its spec, its runs, and what stands beside the rank."""

    standing: Standing
    label: str
    differences: dict[str, Any]
    runs: list[str]
    columns: dict[str, Interval | None]


def ranking(benchmark: Benchmark) -> list[Entry]:
    """All entries, best first. Two queries, and two more for each run when there is a target."""
    by_spec = _runs_by_spec(benchmark)
    metrics = summaries([run.id for found in by_spec.values() for run in found], [benchmark.metric, *benchmark.columns])
    results = {
        spec_hash: [_result(benchmark, run, metrics.get(run.id, {}).get(benchmark.metric)) for run in found]
        for spec_hash, found in by_spec.items()
    }
    placed = standings(results, goal=benchmark.goal, target=benchmark.target)
    differing = _differing(
        {spec_hash: flat(found[0].spec) for spec_hash, found in by_spec.items()}, set(benchmark.frozen)
    )
    return [
        Entry(
            standing=standing,
            label=_label(by_spec[standing.key][0]),
            differences=_only(by_spec[standing.key][0].spec, differing),
            runs=[run.id for run in by_spec[standing.key]],
            columns={key: _beside(metrics, standing.counted, key) for key in benchmark.columns},
        )
        for standing in placed
    ]


@dataclass(frozen=True, slots=True)
class Workload:
    """What the methods reached on one benchmark: steps to its target, and how many trials and studies stand behind."""

    benchmark: Benchmark
    steps: dict[str, float]
    trials: dict[str, int]
    studies: dict[str, int]


def workloads(benchmarks: Sequence[Benchmark], *, method: str) -> list[Workload]:
    """Steps to target by method: the median over seeds of the best trial of each seed, a trial being a spec.

    method: the dotted path of the spec by which methods are told apart ("optimizer.kind"). A run that failed or never
    arrived is infinite. Raises Invalid for a benchmark without a target, and for two versions of one.
    """
    names = [benchmark.name for benchmark in benchmarks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Invalid(
            f"Two versions of {twice[0]} cannot be scored together.", fields={"benchmark": "One version of each."}
        )
    return [_workload(benchmark, method) for benchmark in benchmarks]


def _workload(benchmark: Benchmark, method: str) -> Workload:
    if benchmark.target is None:
        raise Invalid(
            f"{benchmark.name} has no target, so there is no time to it.", fields={"benchmark": "Give it a target."}
        )
    by_spec = _runs_by_spec(benchmark)
    metrics = summaries([run.id for found in by_spec.values() for run in found], [benchmark.metric])
    studies: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for spec_hash, found in by_spec.items():
        value = spec_value(found[0].spec, method)
        if value is MISSING:
            continue
        for run in found:
            step = _result(benchmark, run, metrics.get(run.id, {}).get(benchmark.metric)).target_step
            # A target that is met before the first update counts as one step: a time of 0 has no ratio.
            arrived = math.inf if step is None else float(max(step, 1))
            seeds = studies[str(value)][run.seed]
            seeds[spec_hash] = min(arrived, seeds.get(spec_hash, math.inf))
    return Workload(
        benchmark,
        {
            name: time_to_target({seed: list(trials.values()) for seed, trials in seeds.items()})
            for name, seeds in studies.items()
        },
        {name: len({spec for trials in seeds.values() for spec in trials}) for name, seeds in studies.items()},
        {name: len(seeds) for name, seeds in studies.items()},
    )


def _runs_by_spec(benchmark: Benchmark) -> dict[str, list[Run]]:
    rows = Run.objects.filter(recipe=benchmark.recipe, state__in=[state.value for state in TERMINAL]).exclude(
        state=State.CANCELLED
    )
    by_spec: dict[str, list[Run]] = defaultdict(list)
    for run in rows.order_by("created_at", "id"):
        if matches(benchmark, run.recipe, run.spec):
            by_spec[run.spec_hash].append(run)
    return by_spec


def _beside(metrics: Mapping[str, Mapping[str, Series]], runs: Sequence[str], key: str) -> Interval | None:
    """The mean of the last values of those runs that have a finite one."""
    found = [metrics[run][key].last for run in runs if key in metrics.get(run, {})]
    values = [value for value in found if value is not None and math.isfinite(value)]
    return interval(values) if values else None


def _only(spec: Any, paths: list[str]) -> dict[str, Any]:
    """The values at those of the paths that this spec has."""
    found = {path: spec_value(spec, path) for path in paths}
    return {path: value for path, value in found.items() if value is not MISSING}


def _label(run: Run) -> str:
    return run.arm or run.name.rsplit(", seed", 1)[0]


def _differing(specs: dict[str, dict[str, Any]], frozen: set[str]) -> list[str]:
    paths = sorted({path for spec in specs.values() for path in spec})
    return [
        path
        for path in paths
        if path not in frozen and len({repr(spec.get(path, MISSING)) for spec in specs.values()}) > 1
    ]


def _result(benchmark: Benchmark, run: Run, summary: Series | None) -> Result:
    if run.state != State.SUCCEEDED or summary is None:
        return Result(run.id, run.seed, None)
    column = {"last": summary.last, "min": summary.low, "max": summary.high}[benchmark.reduce]
    return Result(run.id, run.seed, column, _target_step(benchmark, run, summary))


def _target_step(benchmark: Benchmark, run: Run, summary: Series) -> int | None:
    """The first step at which the metric met the target; read from points only when the extremes say that it did."""
    if benchmark.target is None:
        return None
    best = summary.low if benchmark.goal == "min" else summary.high
    if best is None or (best > benchmark.target if benchmark.goal == "min" else best < benchmark.target):
        return None
    points = visible_points(run.id, [benchmark.metric])[benchmark.metric]
    met = points.value <= benchmark.target if benchmark.goal == "min" else points.value >= benchmark.target
    return int(points.step[np.flatnonzero(met)].min()) if np.any(met) else None
