"""What a study found: each arm's mean with its interval, and its difference to the baseline, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from models_core.catalog import Recipe, StudyTemplate
from stillroom.core.errors import Invalid
from stillroom.core.intervals import Interval, interval
from stillroom.runs.catalog import recipes
from stillroom.runs.lifecycle import TERMINAL, State
from stillroom.runs.models import Run, Series, Study
from stillroom.runs.selectors import summaries

Reduce = Literal["last", "min", "max"]


@dataclass(frozen=True, slots=True)
class ArmFound:
    """One arm: what it reached by seed, how many seeds have no value, and how many have not ended.

    difference: mean over the seeds that both have of the arm minus the baseline; None for the baseline itself, and
    where no seed is shared.
    """

    name: str
    values: Mapping[int, float]
    failed: int
    unfinished: int
    mean: Interval | None
    difference: Interval | None


@dataclass(frozen=True, slots=True)
class Report:
    """metric: the key that was read, with its unit and the better direction where the recipe knows them."""

    metric: str
    unit: str
    goal: Literal["min", "max"] | None
    baseline: str
    arms: tuple[ArmFound, ...]


def study_report(study: Study, *, metric: str = "", baseline: str = "", reduce: Reduce = "last") -> Report:
    """The report over the runs as they are now; two queries.

    metric, baseline: when empty the template's, else the recipe's primary metric and the first arm. A run that
    succeeded counts with the last (least, greatest) value that it logged; of several runs of one seed the newest with
    a finite value. Raises Invalid for an arm that the study does not have.
    """
    recipe = recipes().get(study.recipe)
    template = _template(recipe, study.template)
    names = [str(arm["name"]) for arm in study.arms]
    key = metric or (template.metric if template else "") or (recipe.primary_metric.key if recipe else "")
    base = baseline or (template.baseline if template and template.baseline in names else names[0])
    if base not in names:
        raise Invalid("The study has no such arm.", fields={"baseline": f"One of: {', '.join(names)}."})
    known = next((one for one in recipe.metrics if one.key == key), None) if recipe else None
    runs = list(study.runs.order_by("created_at", "id"))
    logged = summaries([run.id for run in runs], [key])
    reached = {
        name: {
            run.seed: value
            for run in runs
            if run.arm == name and (value := _value(run, logged.get(run.id, {}).get(key), reduce)) is not None
        }
        for name in names
    }
    return Report(
        metric=key,
        unit=known.unit if known else "",
        goal=known.goal if known else None,
        baseline=base,
        arms=tuple(
            _arm(name, [run for run in runs if run.arm == name], reached[name], None if name == base else reached[base])
            for name in names
        ),
    )


def _template(recipe: Recipe | None, name: str) -> StudyTemplate | None:
    """A template may have gone since the study was made."""
    return next((one for one in recipe.templates if one.name == name), None) if recipe else None


def _value(run: Run, summary: Series | None, reduce: Reduce) -> float | None:
    if run.state != State.SUCCEEDED or summary is None:
        return None
    value = {"last": summary.last, "min": summary.low, "max": summary.high}[reduce]
    return value if value is not None and math.isfinite(value) else None


def _arm(name: str, runs: Sequence[Run], values: Mapping[int, float], baseline: Mapping[int, float] | None) -> ArmFound:
    missing = {run.seed for run in runs} - values.keys()
    living = {run.seed for run in runs if run.state not in TERMINAL} & missing
    gaps = [value - baseline[seed] for seed, value in values.items() if seed in baseline] if baseline else []
    return ArmFound(
        name=name,
        values=values,
        failed=len(missing - living),
        unfinished=len(living),
        mean=interval(list(values.values())) if values else None,
        difference=interval(gaps) if gaps else None,
    )
