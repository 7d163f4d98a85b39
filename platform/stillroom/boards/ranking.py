"""Ranking by mean with a 95 % interval over seeds: a pure function of what the runs reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stillroom.core.intervals import Interval, interval


@dataclass(frozen=True, slots=True)
class Result:
    """One finished run of one entry: its seed, its value (None: failed or never logged) and the step where it met
    the target.
    """

    run_id: str
    seed: int
    value: float | None
    target_step: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """One entry's place. `rank` is a range: entries whose intervals overlap share it. None: nothing to rank yet.

    `counted`: the runs with a value, in order of their seeds, and `values` what they reached.
    """

    key: str
    n: int
    failed: int
    interval: Interval | None
    rank: tuple[int, int] | None
    reached: int | None
    steps_to_target: Interval | None
    counted: tuple[str, ...] = ()
    values: tuple[float, ...] = ()


def standings(entries: Mapping[str, Sequence[Result]], *, goal: str, target: float | None) -> list[Standing]:
    """Rank entries, best mean first; entries with no value come last. `goal` is "min" or "max".

    A seed that ran twice counts once, with its first result. An entry of one seed has no interval: it spans its
    value alone.
    """
    found = [_standing(key, _once_per_seed(results), target, goal) for key, results in entries.items()]
    sign = 1.0 if goal == "min" else -1.0
    ranked = sorted(
        (item for item in found if item.interval is not None),
        key=lambda item: (sign * item.interval.mean if item.interval else math.inf, item.key),
    )
    placed = [_with_rank(item, ranked, sign) for item in ranked]
    return placed + sorted((item for item in found if item.interval is None), key=lambda item: item.key)


def _once_per_seed(results: Sequence[Result]) -> list[Result]:
    """The best-informed result per seed: the first with a value, else the first."""
    kept: dict[int, Result] = {}
    for result in results:
        earlier = kept.get(result.seed)
        if earlier is None or (earlier.value is None and result.value is not None):
            kept[result.seed] = result
    return list(kept.values())


def _standing(key: str, results: list[Result], target: float | None, goal: str) -> Standing:
    finite = sorted(
        (
            (result.seed, result.run_id, result.value)
            for result in results
            if result.value is not None and math.isfinite(result.value)
        ),
        key=lambda one: one[0],
    )
    values = [value for _, _, value in finite]
    reached = steps = None
    if target is not None:
        met = [result for result in results if result.target_step is not None]
        reached = len(met)
        steps = interval([float(result.target_step or 0) for result in met]) if met else None
    return Standing(
        key=key,
        n=len(values),
        failed=len(results) - len(values),
        interval=interval(values) if values else None,
        rank=None,
        reached=reached,
        steps_to_target=steps,
        counted=tuple(run for _, run, _ in finite),
        values=tuple(values),
    )


def _with_rank(item: Standing, ranked: list[Standing], sign: float) -> Standing:
    """First: one more than the entries surely better. Last: one more than all that are not surely worse."""
    assert item.interval is not None
    better = sum(1 for other in ranked if _surely_better(other.interval, item.interval, sign))
    worse = sum(1 for other in ranked if _surely_better(item.interval, other.interval, sign))
    return replace(item, rank=(better + 1, len(ranked) - worse))


def _surely_better(one: Interval | None, other: Interval | None, sign: float) -> bool:
    if one is None or other is None:
        return False
    return max(sign * one.low, sign * one.high) < min(sign * other.low, sign * other.high)
