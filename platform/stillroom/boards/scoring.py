"""Scores over several workloads as AlgoPerf gives them: the area under the performance profile. Pure.

Source: Dahl et al., "Benchmarking neural network training algorithms", 2023 (arXiv 2306.07179), section 5, and the
rules of the AlgoPerf competition, version 0.6.

    t_{s,w} = median over studies of the minimum over trials of the time to the target; a miss is infinite
    r_{s,w} = t_{s,w} / min_s t_{s,w} ;  rho_s(tau) = share of workloads with r_{s,w} <= tau
    B_s = 1/(r_max - 1) integral_1^{r_max} rho_s = mean_w max(0, (r_max - max(r_{s,w}, 1)) / (r_max - 1))

Deviates: the closed form instead of a trapezoid over 100 points. Ratios are relative to the fastest method there is, so
a score changes when a method is added: raw times are kept and scores computed anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import geometric_mean, median

R_MAX = 4.0
Times = Mapping[str, Mapping[str, float]]
"""Time to the target by workload and method; infinite where it was missed. Any unit, the same within a workload."""


def time_to_target(studies: Mapping[int, Sequence[float]]) -> float:
    """The median over studies of the best trial of each. A study without a trial that arrived is infinite.

    studies: times of the trials of each study. An even number of studies of which half missed is infinite.
    """
    if not studies:
        return math.inf
    return float(median(min(trials, default=math.inf) for trials in studies.values()))


def ratios(times: Times) -> dict[str, dict[str, float]]:
    """r by workload and method. Methods missing from a workload missed it; where nobody arrived, all are infinite."""
    methods = _methods(times)
    found: dict[str, dict[str, float]] = {}
    for workload, row in times.items():
        _check(workload, row)
        best = min(row.values(), default=math.inf)
        found[workload] = {
            method: row[method] / best if math.isfinite(row.get(method, math.inf)) else math.inf for method in methods
        }
    return found


def scores(times: Times, *, r_max: float = R_MAX) -> dict[str, float]:
    """B of every method, in [0, 1]. r_max: above 1, the ratio from which on a workload counts nothing."""
    if not r_max > 1:
        raise ValueError("r_max must be above 1.")
    table = ratios(times)
    return {
        method: sum(max(0.0, (r_max - row[method]) / (r_max - 1)) for row in table.values()) / len(table)
        for method in _methods(times)
    }


def profile(times: Times, *, r_max: float = R_MAX) -> dict[str, list[tuple[float, float]]]:
    """rho of every method as the corners of its steps: (tau, share of workloads from this tau on), from 1 to r_max."""
    table = ratios(times)
    found: dict[str, list[tuple[float, float]]] = {}
    for method in _methods(times):
        reached = sorted(row[method] for row in table.values() if row[method] <= r_max)
        corners = {1.0: 0.0}
        for count, tau in enumerate(reached, start=1):
            corners[tau] = count / len(table)
        corners[r_max] = len(reached) / len(table)
        found[method] = sorted(corners.items())
    return found


def speedups(times: Times, *, reference: str) -> dict[str, float | None]:
    """Geometric mean over workloads of the reference's time over the method's, where both arrived. None: nowhere."""
    found: dict[str, float | None] = {}
    for method in _methods(times):
        both = [
            row[reference] / row[method]
            for row in times.values()
            if math.isfinite(row.get(method, math.inf)) and math.isfinite(row.get(reference, math.inf))
        ]
        found[method] = geometric_mean(both) if both else None
    return found


def _methods(times: Times) -> list[str]:
    return sorted({method for row in times.values() for method in row})


def _check(workload: str, row: Mapping[str, float]) -> None:
    for method, time in row.items():
        if math.isnan(time) or time <= 0:
            raise ValueError(f"The time of {method} on {workload} must be above 0.")
