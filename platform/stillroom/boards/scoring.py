"""Time-to-target scores across workloads: a pure function of raw times, recomputed from them and never stored.

Source: Dahl et al., "Benchmarking neural network training algorithms", 2023 (arXiv 2306.07179), and the AlgoPerf rules
0.6. For a submission s on workload w, t = median over studies of the least time over a study's trials; a trial that
missed the target counts as infinity and takes part. With r = t_s / min_s t_s and rho_s(tau) the share of workloads with
r <= tau (the performance profile of Dolan and More, 2002):

    score_s = 1/(r_max - 1) integral_1^r_max rho_s(tau) dtau = mean_w max(0, (r_max - r) / (r_max - 1))

Deviates: the closed form in place of a trapezoid of 100 points; the best trial is the fastest in time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Ratio at which a workload is worth nothing; AlgoPerf's.
R_MAX = 4.0


@dataclass(frozen=True, slots=True)
class Score:
    """score: in [0, 1]. reached: workloads whose median study met the target. ratios: r by workload, inf for a miss.

    speedup: geometric mean of the reference's time over the submission's, on workloads that both reached; None without
    a reference or such a workload.
    """

    score: float
    reached: int
    ratios: Mapping[str, float]
    speedup: float | None


def time_to_target(studies: Sequence[Sequence[float | None]]) -> float:
    """Median over studies of the least time over each study's trials, inf where none met the target (None or inf).

    With an even number of studies the upper of the two middle values, so that half the studies must reach the target
    and one more. Raises ValueError for no study, or a time that is negative or NaN.
    """
    best = sorted(min((_time(trial) for trial in trials), default=math.inf) for trials in studies)
    if not best:
        raise ValueError("A time to target needs at least one study.")
    return best[len(best) // 2]


def performance_profile(ratios: Sequence[float], tau: float) -> float:
    """rho(tau): the share of `ratios` that are at most tau."""
    return sum(ratio <= tau for ratio in ratios) / len(ratios)


def scores(
    times: Mapping[str, Mapping[str, float]], *, r_max: float = R_MAX, reference: str | None = None
) -> dict[str, Score]:
    """Scores of submissions from their times to target, {submission: {workload: seconds or steps}}.

    A workload that a submission lacks is a miss; one that none reached scores 0 for all. `r_max` > 1.
    """
    if r_max <= 1:
        raise ValueError("r_max must exceed 1.")
    workloads = sorted({workload for own in times.values() for workload in own})
    fastest = {name: min(_time(own.get(name)) for own in times.values()) for name in workloads}
    found = {}
    for submission, own in times.items():
        ratios = {name: _ratio(_time(own.get(name)), fastest[name]) for name in workloads}
        gains = [max(0.0, (r_max - ratio) / (r_max - 1)) for ratio in ratios.values()]
        found[submission] = Score(
            score=sum(gains) / len(gains) if gains else 0.0,
            reached=sum(math.isfinite(ratio) for ratio in ratios.values()),
            ratios=ratios,
            speedup=_speedup(own, times[reference]) if reference is not None else None,
        )
    return found


def _time(value: float | None) -> float:
    if value is None:
        return math.inf
    if math.isnan(value) or value < 0:
        raise ValueError(f"A time to target is never {value}.")
    return value


def _ratio(time: float, fastest: float) -> float:
    if math.isinf(time):
        return math.inf
    if fastest == 0:
        # Met before the first step: only others that did so too are as fast.
        return 1.0 if time == 0 else math.inf
    return time / fastest


def _speedup(own: Mapping[str, float], reference: Mapping[str, float]) -> float | None:
    logs = [
        math.log(reference[name] / own[name])
        for name in own.keys() & reference.keys()
        if 0 < own[name] < math.inf and 0 < reference[name] < math.inf
    ]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None
