"""AlgoPerf's score: its closed form against the integral, and what a board relies on."""

from __future__ import annotations

import math

import pytest

from stillroom.boards.scoring import performance_profile, scores, time_to_target

TIMES = {
    "sonew": {"autoencoder": 100.0, "decoder": 250.0, "classifier": math.inf},
    "adam": {"autoencoder": 130.0, "decoder": 200.0, "classifier": 40.0},
    "slow": {"autoencoder": 400.0, "decoder": 900.0},
}


def test_closed_form_is_the_integral_of_the_performance_profile() -> None:
    points = 30_000
    for score in scores(TIMES).values():
        ratios = list(score.ratios.values())
        taus = (1 + 3 * (i + 0.5) / points for i in range(points))
        integral = sum(performance_profile(ratios, tau) for tau in taus) / points
        assert score.score == pytest.approx(integral, abs=1e-4)


def test_by_hand() -> None:
    found = scores(TIMES, reference="adam")
    assert found["sonew"].score == pytest.approx((1 + (4 - 1.25) / 3 + 0) / 3)
    assert found["adam"].score == pytest.approx(((4 - 1.3) / 3 + 1 + 1) / 3)
    assert found["slow"].score == 0
    assert found["sonew"].reached == 2
    assert found["slow"].ratios["classifier"] == math.inf
    assert found["sonew"].speedup == pytest.approx(math.sqrt(130 / 100 * 200 / 250))


def test_alone_one_scores_the_share_of_workloads_reached_and_the_fastest_everywhere_scores_one() -> None:
    assert scores({"sonew": TIMES["sonew"]})["sonew"].score == pytest.approx(2 / 3)
    best = {name: min(own.get(name, math.inf) for own in TIMES.values()) for name in TIMES["adam"]}
    assert scores(TIMES | {"best": best})["best"].score == 1


def test_a_slower_submission_changes_no_other_score() -> None:
    before = scores(TIMES)
    after = scores(TIMES | {"slower": {name: 2 * time for name, time in TIMES["adam"].items()}})
    assert {name: after[name] for name in TIMES} == before


def test_a_workload_that_nobody_reached_scores_nothing() -> None:
    assert scores({"one": {"w": math.inf}, "two": {}})["one"].score == 0


@pytest.mark.parametrize(
    ("studies", "expected"),
    [
        ([[5.0, 3.0, None], [9.0, 4.0], [7.0]], 4.0),
        ([[5.0], [None], [math.inf]], math.inf),
        ([[5.0], [None], [6.0]], 6.0),
        ([[1.0], [2.0]], 2.0),
        ([[], [1.0], [3.0]], 3.0),
    ],
)
def test_median_over_studies_of_the_fastest_trial_where_misses_are_infinite(studies, expected) -> None:
    assert time_to_target(studies) == expected


@pytest.mark.parametrize("wrong", [float("nan"), -1.0])
def test_times_that_are_none_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="never"):
        time_to_target([[wrong]])
    with pytest.raises(ValueError, match="never"):
        scores({"one": {"w": wrong}})
    with pytest.raises(ValueError, match="study"):
        time_to_target([])
    with pytest.raises(ValueError, match="r_max"):
        scores({}, r_max=1.0)
