"""Runs of a recipe that differ in their arm and share their seeds: carried out once each, remembered, and compared.

A file of results makes a study resumable: a run whose recipe, spec and seed it holds is not made again.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from models_core import catalog
from models_core.events import Context, Metric

Values = dict[str, float]


class Runs:
    """Last values of runs of one recipe; path: of JSON lines to read and append to, "" for none."""

    def __init__(self, recipe: str, *, path: str = "", cache_dir: str = "") -> None:
        self.recipe = catalog.recipe(recipe)
        self.cache_dir = cache_dir
        self.path = Path(path) if path else None
        self.known: dict[str, Values] = {}
        if self.path and self.path.is_file():
            for line in self.path.read_text().splitlines():
                held = json.loads(line)
                self.known[held["run"]] = held["values"]

    def last(self, spec: dict[str, Any], seed: int) -> Values:
        """The last value of every metric, from the file or by running."""
        parsed = self.recipe.parse(spec)
        name = f"{self.recipe.hash(parsed)}:{seed}"
        if name not in self.known:
            values: Values = {}
            for event in self.recipe.run(parsed, Context(seed=seed, cache_dir=self.cache_dir)):
                if isinstance(event, Metric):
                    values |= event.values
            self.known[name] = values
            if self.path:
                with self.path.open("a") as file:
                    file.write(json.dumps({"run": name, "values": values}) + "\n")
        return self.known[name]


def interval(values: Sequence[float]) -> str:
    """The mean and the 95 % interval of Student's t; of a single value no interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.3f} ± {half:.3f}"


def differences(runs: Sequence[Values], others: Sequence[Values], key: str) -> list[float]:
    """Seed by seed."""
    return [run[key] - other[key] for run, other in zip(runs, others, strict=True)]
